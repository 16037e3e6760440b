//! Where a redirected connection wanted to go, as conntrack remembers it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use socket2::SockRef;

use crate::model::OriginalDst;

/// The original destination of an accepted socket (`SO_ORIGINAL_DST`, `IP6T_SO_ORIGINAL_DST`); `None` if conntrack does
/// not know the connection. For one that was not redirected it is the listener's own address.
///
/// # Errors
///
/// The socket is not one of IPv4 or IPv6, or is gone.
pub fn original_destination(accepted: BorrowedFd<'_>) -> io::Result<Option<OriginalDst>> {
    let socket = SockRef::from(&accepted);
    let local = socket.local_addr()?.as_socket().map(|address| address.ip().to_canonical());
    let destination = match local {
        // An IPv4 connection that was accepted by a socket of both families is IPv4 to conntrack.
        Some(ip) if ip.is_ipv4() => socket.original_dst_v4(),
        Some(_) => socket.original_dst_v6(),
        None => {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither an IPv4 nor an IPv6 socket"));
        }
    };
    match destination {
        Ok(address) => Ok(address.as_socket().map(without_zone).map(OriginalDst)),
        // No entry for this connection; no NAT in this kernel or namespace at all.
        Err(error) if is_one_of(&error, &[Errno::ENOENT, Errno::ENOPROTOOPT, Errno::EOPNOTSUPP]) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an error is one of these.
fn is_one_of(error: &io::Error, errnos: &[Errno]) -> bool {
    error.raw_os_error().is_some_and(|number| errnos.contains(&Errno::from_raw(number)))
}

/// The address without flow label and zone, of which conntrack's answer says nothing reliable.
fn without_zone(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}
