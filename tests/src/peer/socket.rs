//! Sockets as the plainest of programs open them, with every variation that capture has to meet.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, ValueEnum};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Event, lend};
use crate::patience::patience;

/// `MSG_FASTOPEN` of linux/socket.h, which socket2 has no name for.
const MSG_FASTOPEN: i32 = 0x2000_0000;

/// TCP or its multipath form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Transport {
    Tcp,
    Mptcp,
}

impl From<Transport> for Protocol {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::TCP,
            Transport::Mptcp => Self::MPTCP,
        }
    }
}

/// Which families an IPv6 listener accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Stack {
    /// Its own only.
    Own,
    /// IPv4 too, in mapped form, as Java and Go do.
    Dual,
}

/// How `connect()` is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum How {
    /// One blocking call.
    Blocking,
    /// A non-blocking call, then poll(2) and SO_ERROR.
    Nonblocking,
    /// `sendto()` with MSG_FASTOPEN, which carries the first bytes along.
    FastOpen,
}

/// Where and how to connect. An IPv4-mapped IPv6 address makes an `AF_INET6` socket.
#[derive(Clone, Debug, Args)]
pub(super) struct Target {
    /// Address and port to connect to
    pub(super) address: SocketAddr,
    /// How to call connect()
    #[arg(long, value_enum, default_value = "blocking")]
    pub(super) how: How,
    /// Protocol of the socket
    #[arg(long, value_enum, default_value = "tcp")]
    pub(super) transport: Transport,
    /// Address and port to bind to before connecting
    #[arg(long)]
    pub(super) bind: Option<SocketAddr>,
    /// Interface to bind to before connecting
    #[arg(long)]
    pub(super) bind_device: Option<String>,
    /// Mark of its packets
    #[arg(long)]
    pub(super) mark: Option<u32>,
    /// Unix socket to get the socket from, which somebody else has made (`lend`)
    #[arg(long)]
    pub(super) borrow: Option<PathBuf>,
}

impl Target {
    /// Connects, and says how long the call took. `first` is sent with fast open only; the answer counts how
    /// many of its bytes are under way.
    pub(super) fn dial(&self, first: &[u8]) -> (io::Result<(TcpStream, usize)>, Duration) {
        self.dial_with(self.open(), first)
    }

    /// [`Self::dial`] with a socket that [`Self::open`] made.
    pub(super) fn dial_with(
        &self,
        socket: io::Result<Socket>,
        first: &[u8],
    ) -> (io::Result<(TcpStream, usize)>, Duration) {
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => return (Err(error), Duration::ZERO),
        };
        let began = Instant::now();
        let connected = self.connect(&socket, first);
        let took = began.elapsed();
        (connected.map(|sent| (TcpStream::from(socket), sent)), took)
    }

    /// A socket with everything done that comes before connecting it.
    pub(super) fn open(&self) -> io::Result<Socket> {
        let domain = Domain::for_address(self.address);
        let socket = match &self.borrow {
            Some(path) => lend::borrow(path)?.into(),
            None => Socket::new(domain, Type::STREAM, Some(self.transport.into()))?,
        };
        if let Some(mark) = self.mark {
            socket.set_mark(mark)?;
        }
        if let Some(device) = &self.bind_device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        if let Some(address) = self.bind {
            // So that the same port can be bound again while an earlier connection waits out its time.
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
        }
        Ok(socket)
    }

    fn connect(&self, socket: &Socket, first: &[u8]) -> io::Result<usize> {
        let address = self.address.into();
        match self.how {
            How::Blocking => socket.connect(&address).map(|()| 0),
            How::Nonblocking => {
                socket.set_nonblocking(true)?;
                match socket.connect(&address) {
                    Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => {
                        writable(socket)?;
                    }
                    other => other?,
                }
                socket.set_nonblocking(false).map(|()| 0)
            }
            How::FastOpen => socket.send_to_with_flags(first, &address, MSG_FASTOPEN),
        }
    }
}

fn writable(socket: &Socket) -> io::Result<()> {
    let timeout = PollTimeout::try_from(patience()).unwrap_or(PollTimeout::MAX);
    if poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], timeout)? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    socket.take_error()?.map_or(Ok(()), Err)
}

/// A listener, with an [`Event::Listening`] once it stands.
pub(super) fn listen(address: SocketAddr, transport: Transport) -> anyhow::Result<TcpListener> {
    listen_with(address, transport, Stack::Own)
}

/// As [`listen`], with a choice for IPv6.
pub(super) fn listen_with(
    address: SocketAddr,
    transport: Transport,
    stack: Stack,
) -> anyhow::Result<TcpListener> {
    let open = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(transport.into()))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(stack == Stack::Own)?;
        }
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        Ok(socket.into())
    };
    let listener = open().with_context(|| format!("listen on {address}"))?;
    Event::Listening { address: listener.local_addr().context("getsockname")? }.emit();
    Ok(listener)
}

/// Calls `serve` with every connection of every listener; each listener has a thread of its own.
pub(super) fn accept_all(
    listeners: Vec<TcpListener>,
    serve: impl Fn(TcpStream, SocketAddr) + Send + Clone + 'static,
) -> anyhow::Result<()> {
    let threads: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let serve = serve.clone();
            std::thread::spawn(move || -> io::Result<()> {
                loop {
                    match listener.accept() {
                        Ok((stream, returned)) => serve(stream, returned),
                        // The connection was reset while it waited.
                        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                        Err(error) => return Err(error),
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        match thread.join() {
            Ok(ended) => ended.context("accept")?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    Ok(())
}

/// An [`Event::Accepted`] for a connection.
pub(super) fn announce(stream: &TcpStream, returned: SocketAddr) {
    if let Ok(local) = stream.local_addr() {
        Event::Accepted { returned, peer: stream.peer_addr().ok(), local }.emit();
    }
}

/// A thread with a stack small enough for thousands of them.
pub(super) fn spawn_small(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().stack_size(128 * 1024).spawn(work).map(drop)
}

/// The name of an errno, or what else went wrong.
pub(super) fn errno(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| format!("{:?}", Errno::from_raw(number)))
}

/// Raises the limit on open descriptors as far as the system lets us.
pub(super) fn raise_descriptors() -> anyhow::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("read the limit on descriptors")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raise the limit on descriptors")
}
