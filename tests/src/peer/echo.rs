//! A TCP server that answers with its own name, so that a test sees who answered, and then echoes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use socket2::SockRef;

use super::Event;
use super::socket::{Stack, Transport, accept_all, announce, errno, listen_with, spawn_small};

/// Who speaks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum First {
    Client,
    Server,
}

/// How the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum End {
    /// After the client has closed its side.
    Close,
    /// With a reset, after its first answer.
    Reset,
}

/// Whether every connection is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Report {
    Connections,
    Nothing,
}

#[derive(Clone, Debug, Args)]
pub(super) struct Echo {
    /// Answered once per connection, before its first echo, with a newline; nothing if absent
    #[arg(long)]
    name: Option<String>,
    /// Where to listen; may be given more than once
    #[arg(long, required = true)]
    listen: Vec<SocketAddr>,
    #[arg(long, value_enum, default_value = "tcp")]
    transport: Transport,
    /// Which families an IPv6 listener accepts
    #[arg(long, value_enum, default_value = "own")]
    stack: Stack,
    /// Who speaks first
    #[arg(long, value_enum, default_value = "client")]
    first: First,
    /// How connections are ended
    #[arg(long, value_enum, default_value = "close")]
    end: End,
    /// What is printed
    #[arg(long, value_enum, default_value = "connections")]
    report: Report,
}

impl Echo {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let listeners = self.listen.iter().map(|address| listen_with(*address, self.transport, self.stack));
        let listeners = listeners.collect::<anyhow::Result<_>>()?;
        let echo = Arc::new(self);
        accept_all(listeners, move |stream, returned| {
            if echo.report == Report::Connections {
                announce(&stream, returned);
            }
            let echo = Arc::clone(&echo);
            let served = spawn_small(move || echo.serve(stream, returned));
            if let Err(error) = served {
                eprintln!("no thread for {returned}: {error}");
            }
        })
    }

    fn serve(&self, mut stream: TcpStream, returned: SocketAddr) {
        let mut bytes = 0;
        let answered = self.answer(&mut stream, &mut bytes);
        drop(stream);
        if self.report == Report::Connections {
            Event::Closed { returned, bytes, error: answered.err().as_ref().map(errno) }.emit();
        }
    }

    fn answer(&self, stream: &mut TcpStream, bytes: &mut u64) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut greeting = self.name.as_ref().map(|name| format!("{name}\n"));
        if self.first == First::Server
            && let Some(greeting) = greeting.take()
        {
            stream.write_all(greeting.as_bytes())?;
        }
        let mut buffer = [0; 16 * 1024];
        loop {
            let count = stream.read(&mut buffer)?;
            *bytes += count as u64;
            if count == 0 {
                return stream.shutdown(Shutdown::Write);
            }
            if let Some(greeting) = greeting.take() {
                stream.write_all(greeting.as_bytes())?;
            }
            stream.write_all(&buffer[..count])?;
            if self.end == End::Reset {
                return SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
            }
        }
    }
}
