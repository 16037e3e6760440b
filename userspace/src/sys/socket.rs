//! Sockets of the instance, made as capture needs them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// How many connections may wait to be accepted; the kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// Whom a listener hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Only connections that never leave the machine: every address, through the loopback device.
    LoopbackDevice,
    /// Every connection to its address.
    Everyone,
}

/// A non-blocking listener.
///
/// # Errors
/// Those of socket(2), setsockopt(2), bind(2) and listen(2): EADDRINUSE for a port taken, EADDRNOTAVAIL where the namespace
/// has no IPv6.
pub fn listen(at: SocketAddr, reach: Reach) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if reach == Reach::LoopbackDevice {
        socket.bind_device(Some(b"lo"))?;
    }
    socket.bind(&SockAddr::from(at))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A listener beside that of a predecessor which is about to end: both hear until one closes (SO_REUSEPORT, socket(7)). A
/// listener that does not share its port this way is in the way of it, as ever.
///
/// # Errors
/// As for [`listen`].
pub fn listen_beside(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SockAddr::from(at))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The next connection in a listener's backlog, non-blocking from the beginning, and who connected.
///
/// # Errors
/// Those of accept4(2).
pub fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the closure hands the storage and its length to accept4(2), which fills both when it succeeds.
    let (accepted, peer) = unsafe {
        SockAddr::try_init(|storage, length| {
            match libc::accept4(listener.as_raw_fd(), storage.cast(), length, flags) {
                -1 => Err(io::Error::last_os_error()),
                accepted => Ok(accepted),
            }
        })?
    };
    // SAFETY: the kernel just returned this descriptor to us and nobody else knows it.
    let stream = unsafe { TcpStream::from_raw_fd(accepted) };
    let peer = peer.as_socket().ok_or(io::ErrorKind::Unsupported)?;
    Ok((stream, peer))
}

/// Any port of IPv4 loopback.
pub const LOOPBACK4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Any port of IPv6 loopback.
pub const LOOPBACK6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 0);
/// Any port of every IPv4 address.
pub const EVERY4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// Any port of every IPv6 address.
pub const EVERY6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);
