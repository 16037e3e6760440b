//! Endpoints as map memory holds them.
//!
//! One form serves both families: IPv4 is held as an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2), so
//! that an `AF_INET6` socket dialling `::ffff:10.0.0.9` and an `AF_INET` socket dialling `10.0.0.9` meet
//! the same rules and the same staging keys.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Four 32-bit words in network byte order, as `bpf_sock_addr.user_ip6` and `bpf_sock_ops.remote_ip6` give them.
pub type Address = [u32; 4];

/// The third word of every IPv4-mapped address.
pub const V4_MAPPED_WORD: u32 = 0x0000_ffff_u32.to_be();

/// An [`Address`] for an IPv4 address given as the kernel does: a `u32` in network byte order.
#[inline(always)]
#[must_use]
pub const fn mapped(ip4: u32) -> Address {
    [0, 0, V4_MAPPED_WORD, ip4]
}

/// Whether `address` is IPv4 held in mapped form.
#[inline(always)]
#[must_use]
pub const fn is_v4(address: &Address) -> bool {
    address[0] == 0 && address[1] == 0 && address[2] == V4_MAPPED_WORD
}

/// An address and a TCP port.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Address, IPv4 in mapped form.
    pub address: Address,
    /// Port in host byte order.
    pub port: u16,
    /// Always zero.
    pub padding: u16,
}

impl Endpoint {
    /// An endpoint of `address` and `port` (host byte order).
    #[inline(always)]
    #[must_use]
    pub const fn new(address: Address, port: u16) -> Self {
        Self { address, port, padding: 0 }
    }
}

/// The map form of an address.
#[must_use]
pub fn from_ip(ip: IpAddr) -> Address {
    let octets = match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    core::array::from_fn(|word| {
        let at = word * 4;
        u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
    })
}

/// The address that a map form stands for; mapped forms become IPv4.
#[must_use]
pub fn to_ip(address: &Address) -> IpAddr {
    let mut octets = [0; 16];
    for (chunk, word) in octets.chunks_exact_mut(4).zip(address) {
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    let v6 = Ipv6Addr::from(octets);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
}

impl From<SocketAddr> for Endpoint {
    fn from(socket: SocketAddr) -> Self {
        Self::new(from_ip(socket.ip()), socket.port())
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> Self {
        Self::new(to_ip(&endpoint.address), endpoint.port)
    }
}

/// First address of the range that a workload's captured IPv4 connections are rewritten into, 127.199.0.0/16.
///
/// A range and not one address, because every address adds the whole local port range to the number of
/// connections that can be told apart by their four-tuple.
pub const OWNED_RANGE4: Ipv4Addr = Ipv4Addr::new(127, 199, 0, 0);
/// Prefix length of [`OWNED_RANGE4`].
pub const OWNED_RANGE4_BITS: u32 = 16;

crate::map_memory!(Endpoint = 20);

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn endpoints_survive_the_way_into_map_memory_and_back() {
        for text in ["10.0.0.9:80", "[2001:db8::1]:443", "127.0.0.1:65535", "[::1]:1"] {
            let socket: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketAddr::from(Endpoint::from(socket)).to_string(), text);
        }
    }

    #[test]
    fn a_mapped_ipv6_address_is_the_same_endpoint_as_its_ipv4_address() {
        let mapped_form: SocketAddr = "[::ffff:10.0.0.9]:80".parse().unwrap();
        let plain: SocketAddr = "10.0.0.9:80".parse().unwrap();
        assert_eq!(Endpoint::from(mapped_form), Endpoint::from(plain));
        assert!(is_v4(&Endpoint::from(plain).address));
        assert_eq!(Endpoint::from(plain).address, mapped(u32::from_ne_bytes([10, 0, 0, 9])));
    }
}
