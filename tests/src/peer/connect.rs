//! One TCP connection, looked at from the side that makes it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use socket2::SockRef;

use super::socket::{Target, errno};
use super::{Dialled, Event};
use crate::patience::patience;

/// How the client ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum End {
    /// It closes its sending side, and reads until the server has closed too.
    HalfClose,
    /// It resets the connection after the first answer.
    Reset,
    /// It reads until the server closes, without ever closing first.
    Wait,
    /// After the first answer it waits for a line on standard input, then goes on as with `half-close`.
    Told,
}

/// When the client connects its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Begin {
    /// As soon as it has one.
    AtOnce,
    /// After a line on standard input: the socket is older than whatever happens before.
    Told,
}

#[derive(Debug, Args)]
pub(super) struct Connect {
    #[command(flatten)]
    target: Target,
    /// What to send; a client without it waits for the server to speak first
    #[arg(long)]
    send: Option<String>,
    /// When to connect the socket
    #[arg(long, value_enum, default_value = "at-once")]
    begin: Begin,
    /// How to end the connection
    #[arg(long, value_enum, default_value = "half-close")]
    end: End,
}

impl Connect {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let first = self.send.as_deref().unwrap_or_default().as_bytes();
        let socket = self.target.open();
        if self.begin == Begin::Told {
            // So that the test knows when to tell.
            Event::Holding { count: 0, error: None }.emit();
            io::stdin().read_line(&mut String::new())?;
        }
        let (connected, took) = self.target.dial_with(socket, first);
        let mut dialled = Dialled { connect_us: u64::try_from(took.as_micros())?, ..Dialled::default() };
        match connected {
            Err(error) => dialled.refused = Some(errno(&error)),
            Ok((stream, sent)) => {
                dialled.peer = stream.peer_addr().ok();
                dialled.local = stream.local_addr().ok();
                let talked = self.talk(stream, &first[sent..], &mut dialled);
                dialled.broken = talked.err().as_ref().map(errno);
            }
        }
        Event::Dialled(dialled).emit();
        Ok(())
    }

    fn talk(&self, mut stream: TcpStream, rest: &[u8], dialled: &mut Dialled) -> io::Result<()> {
        let connected = Instant::now();
        stream.set_read_timeout(Some(patience()))?;
        stream.write_all(rest)?;
        let mut read = Vec::new();
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer);
        dialled.first_byte_us = u64::try_from(connected.elapsed().as_micros()).ok();
        let outcome = count.and_then(|count| {
            read.extend_from_slice(&buffer[..count]);
            match self.end {
                End::Reset => return SockRef::from(&stream).set_linger(Some(Duration::ZERO)),
                End::HalfClose => half_close(&stream)?,
                End::Wait => {}
                End::Told => {
                    // So that the test knows when to tell.
                    Event::Holding { count: 1, error: None }.emit();
                    io::stdin().read_line(&mut String::new())?;
                    half_close(&stream)?;
                }
            }
            stream.read_to_end(&mut read).map(drop)
        });
        dialled.read = String::from_utf8_lossy(&read).into_owned();
        outcome
    }
}

/// Closes the sending side. On a connection that the server has reset already this fails with ENOTCONN, which
/// hides what happened: the next read tells.
fn half_close(stream: &TcpStream) -> io::Result<()> {
    match stream.shutdown(Shutdown::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        other => other,
    }
}
