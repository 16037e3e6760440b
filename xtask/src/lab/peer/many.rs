//! Many connections served by one thread, as event-driven servers do it. What is said on them is the caller's business.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};

use super::poller::{Notices, Poller, Until};

/// What is read at once.
const CHUNK: usize = 16 * 1024;

/// Answers what has been received, as far as that is complete, and takes it out. It may write as if the socket had room
/// for ever: answers are far smaller than a send buffer, and a client asks again only when it has one.
pub(super) type Reply = fn(received: &mut Vec<u8>, stream: &mut TcpStream) -> io::Result<()>;

/// A connection and what it has received.
#[derive(Debug)]
struct Open {
    stream: TcpStream,
    received: Vec<u8>,
}

/// Serves for ever.
pub(super) fn serve(listener: &TcpListener, reply: Reply) -> Result<()> {
    listener.set_nonblocking(true).context("make a listener wait for nobody")?;
    let (poller, mut notices) = (Poller::new()?, Notices::new());
    let door = number(listener);
    poller.watch(listener, door, Until::Readable)?;
    let mut open: HashMap<usize, Open> = HashMap::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        poller.wait_for_ever(&mut notices)?;
        for socket in notices.numbers() {
            if socket == door {
                // A client that is gone before it is accepted is no concern of the others.
                if let Ok(stream) = accept(listener) {
                    let number = number(&stream);
                    poller.watch(&stream, number, Until::Readable)?;
                    open.insert(number, Open { stream, received: Vec::new() });
                }
            } else if let Some(connection) = open.get_mut(&socket)
                && !connection.go_on(&mut chunk, reply).unwrap_or(false)
            {
                open.remove(&socket);
            }
        }
    }
}

fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept()?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A descriptor is as good a number as any as long as its socket is open, which is as long as it is watched.
fn number(socket: &impl AsRawFd) -> usize {
    socket.as_raw_fd().unsigned_abs() as usize
}

impl Open {
    /// Reads once and replies. False at the client's end.
    fn go_on(&mut self, chunk: &mut [u8], reply: Reply) -> io::Result<bool> {
        let length = match self.stream.read(chunk) {
            Ok(0) => return Ok(false),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        self.received.extend_from_slice(&chunk[..length]);
        reply(&mut self.received, &mut self.stream)?;
        Ok(true)
    }
}
