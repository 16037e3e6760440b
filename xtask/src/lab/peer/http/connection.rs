//! The client's connections: each asks, and has its answer later.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail, ensure};

use super::super::client::dial;
use super::super::poller::{Poller, Until};
use super::message;

/// The same every time.
const REQUEST: &[u8] = b"GET /bench HTTP/1.1\r\nHost: bench\r\nUser-Agent: sidestep-bench\r\n\r\n";
/// An answer and all that a proxy adds to its head.
const BUFFER: usize = 4096;

/// One connection, and as much of an answer as has come.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffer: [u8; BUFFER],
    filled: usize,
}

impl Connection {
    /// Opens as many as that and watches them under their numbers, from 0.
    pub(super) fn open(to: SocketAddr, count: usize, poller: &Poller) -> Result<Vec<Self>> {
        let open = |number| {
            let stream = dial(to)?;
            stream.set_nodelay(true).context("set TCP_NODELAY")?;
            stream.set_nonblocking(true).context("make a connection wait for nobody")?;
            poller.watch(&stream, number, Until::Readable)?;
            Ok(Self { stream, buffer: [0; BUFFER], filled: 0 })
        };
        (0..count).map(open).collect()
    }

    /// Asks; it is so little that there is always room for it.
    pub(super) fn ask(&mut self) -> Result<()> {
        self.stream.write_all(REQUEST).context("send a request")
    }

    /// Reads once. The bytes of the request and its answer if that is complete now.
    pub(super) fn hear(&mut self) -> Result<Option<u64>> {
        match self.stream.read(&mut self.buffer[self.filled..]) {
            Ok(0) => bail!("expected an answer, found the end after {} bytes of it", self.filled),
            Ok(length) => self.filled += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).context("read an answer"),
        }
        let Some(length) = message::response(&self.buffer[..self.filled])? else {
            ensure!(self.filled < BUFFER, "expected an answer of less than {BUFFER} bytes");
            return Ok(None);
        };
        ensure!(length == self.filled, "expected one answer, found {} bytes after it", self.filled - length);
        self.filled = 0;
        Ok(Some((REQUEST.len() + length) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_a_whole_request() {
        assert_eq!(message::request(REQUEST).unwrap(), Some(REQUEST.len()));
    }
}
