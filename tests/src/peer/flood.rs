//! A writer that writes whatever the other side takes, and a reader that takes nothing until it is told to:
//! what back-pressure looks like from both ends.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::Event;
use super::noise::{send, verify};
use super::socket::{Target, Transport, announce, errno, listen};

/// A write that makes no progress for this long has stalled.
const STALL: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct Stall {
    /// Where to listen
    #[arg(long)]
    listen: SocketAddr,
    /// Seed of the stream to expect
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Stall {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let listener = listen(self.listen, Transport::Tcp)?;
        let (mut stream, returned) = listener.accept().context("accept")?;
        announce(&stream, returned);
        io::stdin().read_line(&mut String::new()).context("wait to be told to read")?;
        let mut bytes = 0;
        let verified = verify(&mut stream, self.seed, |total| bytes = total);
        Event::Drained { bytes, fault: verified.err().as_ref().map(errno) }.emit();
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct Flood {
    #[command(flatten)]
    target: Target,
    /// How many bytes to write at most
    #[arg(long)]
    bytes: u64,
    /// Seed of the stream to write
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Flood {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let (stream, _) = self.target.dial(&[]).0.context("connect")?;
        stream.set_write_timeout(Some(STALL)).context("set the timeout")?;
        let mut bytes = 0;
        let mut sink = Persistent { stream: &stream, written: 0 };
        let sent = send(&mut sink, self.seed, self.bytes, |total| bytes = total);
        let sent = sent.and_then(|()| stream.shutdown(Shutdown::Write));
        Event::Flooded { bytes, error: sent.err().as_ref().map(errno) }.emit();
        // Keeps the connection until the test lets go: closing with unread bytes would reset it.
        io::copy(&mut io::stdin(), &mut io::sink()).context("wait for standard input to end")?;
        Ok(())
    }
}

/// Tries again after every stall, once it has said so.
struct Persistent<'stream> {
    stream: &'stream TcpStream,
    written: u64,
}

impl Write for Persistent<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.stream.write(bytes) {
                Ok(count) => {
                    self.written += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    Event::Stalled { bytes: self.written }.emit();
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
