//! The second leg: one attempt to reach the upstream, given up as soon as it is pointless.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::connection::blame;
use super::instance::Instance;
use super::relay::End;
use crate::model::{ClientAddr, Direction, Fault, Side, UpstreamAddr};

/// What to dial, and for whom.
pub(super) struct Dial<'a> {
    pub(super) instance: &'a Instance,
    pub(super) client: ClientAddr,
    pub(super) upstream: UpstreamAddr,
    pub(super) direction: Direction,
}

/// Which local address a dial starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// What the kernel's routing says.
    Any,
    /// Another address of 127.199.0.0/16 each time. Works towards addresses of our own namespace only.
    Spread,
}

impl Dial<'_> {
    /// Dials for at most `patience`, and not longer than until the client has `gone`. `at_hand` is a socket of the
    /// upstream's family if there is one.
    pub(super) async fn run(
        &self,
        at_hand: Option<Socket>,
        gone: impl Future<Output = io::Error>,
        patience: Duration,
    ) -> Result<TcpStream, Fault> {
        tokio::select! {
            biased;
            dialled = tokio::time::timeout(patience, self.connect(at_hand)) => {
                dialled.unwrap_or_else(|_elapsed| {
                    Err(Fault::new(blame(End::Upstream, self.direction), "dial upstream", late(patience)))
                })
            }
            gone = gone => Err(Fault::new(blame(End::Client, self.direction), "wait for upstream", gone)),
        }
    }

    async fn connect(&self, at_hand: Option<Socket>) -> Result<TcpStream, Fault> {
        let spread = self.direction == Direction::Inbound && self.upstream.0.is_ipv4();
        match self.attempt(at_hand, Source::Any).await {
            // The app's address has no local port left for us (about 28,000 by default): another loopback address
            // has its own.
            Err(fault) if spread && errno(&fault.source) == Some(Errno::EADDRNOTAVAIL) => {
                self.attempt(None, Source::Spread).await
            }
            dialled => dialled,
        }
    }

    async fn attempt(&self, at_hand: Option<Socket>, source: Source) -> Result<TcpStream, Fault> {
        let socket =
            self.open(at_hand, source).map_err(|source| Fault::new(Side::Agent, "open socket", source))?;
        if self.direction == Direction::Inbound {
            self.instance
                .handoffs
                .leave_client(socket.as_fd(), self.client)
                .map_err(|source| Fault::new(Side::Agent, "leave client address", source))?;
        }
        connect(socket, self.upstream.0).await.map_err(|source| {
            let side = if is_our_own(&source) { Side::Agent } else { blame(End::Upstream, self.direction) };
            Fault::new(side, "dial upstream", source)
        })
    }

    fn open(&self, at_hand: Option<Socket>, source: Source) -> io::Result<Socket> {
        let socket = match at_hand {
            Some(socket) => socket,
            None => self.instance.socket(Domain::for_address(self.upstream.0))?,
        };
        if source == Source::Spread {
            spread(&socket)?;
        }
        Ok(socket)
    }
}

/// Has a dial start from another address of 127.199.0.0/16.
fn spread(socket: &Socket) -> io::Result<()> {
    // The port is chosen at connect(), when the whole four-tuple is known (ip(7), since Linux 4.2).
    setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(&SocketAddr::new(IpAddr::V4(next_spread()), 0).into())
}

/// Resolves when whoever is at the other end of `stream` has reset it.
///
/// A client that only closed its sending half stays: it may have said all it has to say.
pub(super) async fn gone(stream: &TcpStream) -> io::Error {
    let _ = stream.ready(Interest::ERROR).await;
    stream.take_error().ok().flatten().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
}

/// The error of a dial that took too long.
pub(super) fn late(patience: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {patience:?} (relay.connect-timeout)"))
}

/// A socket to dial with.
pub(super) fn socket(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

/// Connects; the current runtime watches the stream.
pub(super) async fn connect(socket: Socket, upstream: SocketAddr) -> io::Result<TcpStream> {
    match socket.connect(&upstream.into()) {
        Err(error) if errno(&error) != Some(Errno::EINPROGRESS) => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let stream = TcpStream::from_std(socket.into())?;
    poll_fn(|context| stream.poll_write_ready(context)).await?;
    // A connect that failed has left its error on the socket, which epoll has told of (tcp_poll in net/ipv4/tcp.c): a
    // connect that did not fail need not be asked.
    match stream.try_io(Interest::ERROR, || stream.take_error()) {
        Ok(Some(error)) => Err(error),
        Ok(None) => Ok(stream),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(stream),
        Err(error) => Err(error),
    }
}

/// The next address of 127.199.0.0/16, round robin.
fn next_spread() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(127, 199, high, low)
}

/// Whether a connect failed for something that this machine lacks rather than for what the upstream does.
pub(super) fn is_our_own(error: &io::Error) -> bool {
    matches!(
        errno(error),
        Some(
            Errno::EADDRNOTAVAIL
                | Errno::EMFILE
                | Errno::ENFILE
                | Errno::ENOBUFS
                | Errno::ENOMEM
                | Errno::EPERM
        )
    )
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_spread_dial_comes_from_another_loopback_address() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap();
        let mut seen = Vec::new();
        for _ in 0..3 {
            let socket = socket(Domain::IPV4).unwrap();
            spread(&socket).unwrap();
            let dialled = connect(socket, upstream).await.unwrap();
            let (_, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, dialled.local_addr().unwrap());
            let IpAddr::V4(from) = peer.ip() else { panic!("{peer} is not IPv4") };
            assert_eq!(from.octets()[..2], [127, 199]);
            seen.push(from);
        }
        seen.dedup();
        assert_eq!(seen.len(), 3);
    }
}
