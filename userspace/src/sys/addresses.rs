//! The addresses of the current network namespace, and word of their changes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};

/// All addresses of the namespace but loopback ones.
///
/// # Errors
/// Those of `getifaddrs(3)`.
pub fn own() -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = getifaddrs()?
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|name| IpAddr::V4(name.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|name| IpAddr::V6(name.ip())))
        })
        .filter(|address| !address.is_loopback())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// The source addresses that the kernel would choose towards the world, per family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Of IPv4, if the namespace has one.
    pub v4: Option<Ipv4Addr>,
    /// Of IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl Sources {
    /// Asks the routing tables (no packet is sent), and falls back on the first global address among `own`.
    #[must_use]
    pub fn of(own: &[IpAddr]) -> Self {
        // TEST-NET-1 and the documentation prefix: nobody is there, so only the default route answers.
        let v4 = match route_source(SocketAddr::from(([192, 0, 2, 1], 9))) {
            Some(IpAddr::V4(address)) => Some(address),
            _ => own.iter().find_map(|address| match address {
                IpAddr::V4(address) if !address.is_link_local() => Some(*address),
                _ => None,
            }),
        };
        let v6 = match route_source(SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9))) {
            Some(IpAddr::V6(address)) => Some(address),
            _ => own.iter().find_map(|address| match address {
                IpAddr::V6(address) if !address.is_unicast_link_local() => Some(*address),
                _ => None,
            }),
        };
        Self { v4, v6 }
    }
}

fn route_source(towards: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr =
        if towards.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(towards).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// A socket that becomes readable when an address of the namespace appears or goes (rtnetlink(7)).
///
/// # Errors
/// Those of socket(2) and bind(2).
pub fn changes() -> io::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let groups = (libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR).cast_unsigned();
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(socket)
}
