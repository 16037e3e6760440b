//! Many connections at once: `keep` accepts them, `hold` opens them. One byte travels each way on every one of
//! them, so that a connection that only seems to be open is not counted.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use clap::Args;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Protocol, Socket, Type};

use super::Event;
use super::socket::{Transport, accept_all, errno, listen, raise_descriptors};
use crate::patience::patience;

#[derive(Debug, Args)]
pub(super) struct Keep {
    /// Where to listen; may be given more than once
    #[arg(long, required = true)]
    listen: Vec<SocketAddr>,
}

impl Keep {
    pub(super) fn run(self) -> anyhow::Result<()> {
        raise_descriptors()?;
        let listeners = self.listen.iter().map(|address| listen(*address, Transport::Tcp));
        let listeners = listeners.collect::<anyhow::Result<_>>()?;
        let kept = Arc::new(Kept::new().context("make an epoll instance")?);
        let closing = Arc::clone(&kept);
        std::thread::spawn(move || closing.close_what_is_over());
        accept_all(listeners, move |mut stream, returned| {
            let mut byte = [0];
            let answered = stream
                .set_read_timeout(Some(patience()))
                .and_then(|()| stream.read_exact(&mut byte))
                .and_then(|()| stream.write_all(&byte))
                .and_then(|()| kept.add(stream));
            if let Err(error) = answered {
                eprintln!("{returned} did not exchange its byte: {error}");
            }
        })
    }
}

/// Connections that are open, each until its peer closes it.
struct Kept {
    readable: Epoll,
    streams: Mutex<HashMap<u64, TcpStream>>,
}

impl Kept {
    fn new() -> io::Result<Self> {
        let readable = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { readable, streams: Mutex::default() })
    }

    fn add(&self, stream: TcpStream) -> io::Result<()> {
        // A descriptor number means one connection only, until that is closed.
        let key = u64::from(stream.as_raw_fd().unsigned_abs());
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing more is sent: what can be read is the end.
        self.readable.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, key))?;
        streams.insert(key, stream);
        Ok(())
    }

    fn close_what_is_over(&self) {
        let mut events = [EpollEvent::empty(); 256];
        loop {
            let count = match self.readable.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => {
                    eprintln!("epoll_wait: {error}");
                    return;
                }
            };
            let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
            for event in &events[..count] {
                streams.remove(&event.data());
            }
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Hold {
    /// Addresses to connect to, in turn
    #[arg(required = true)]
    addresses: Vec<SocketAddr>,
    /// How many connections to open in all
    #[arg(long)]
    count: u64,
}

impl Hold {
    pub(super) fn run(self) -> anyhow::Result<()> {
        raise_descriptors()?;
        let mut held = Vec::new();
        let mut error = None;
        for address in self.addresses.iter().cycle().take(usize::try_from(self.count)?) {
            match open(*address) {
                Ok(stream) => held.push(stream),
                Err(failed) => {
                    error = Some(format!("{address}: {}", errno(&failed)));
                    break;
                }
            }
        }
        Event::Holding { count: held.len() as u64, error }.emit();
        io::copy(&mut io::stdin(), &mut io::sink()).context("wait for standard input to end")?;
        Ok(())
    }
}

fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.connect(&address.into())?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(patience()))?;
    stream.write_all(b"!")?;
    stream.read_exact(&mut [0])?;
    Ok(stream)
}
