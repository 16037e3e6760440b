//! Numbers of the kernel's interfaces that aya's bindings do not carry (include/uapi/linux/{in,in6,socket}.h).

use sidestep_abi::address::{Address, mapped};

pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;

pub(crate) const IPPROTO_TCP: u32 = 6;
pub(crate) const IPPROTO_UDP: u32 = 17;
pub(crate) const IPPROTO_MPTCP: u32 = 262;

pub(crate) const SOCK_STREAM: u32 = 1;
pub(crate) const SOCK_DGRAM: u32 = 2;

pub(crate) const SOL_IP: i32 = 0;
pub(crate) const SOL_SOCKET: i32 = 1;
pub(crate) const SOL_IPV6: i32 = 41;
pub(crate) const SO_BINDTOIFINDEX: i32 = 62;
/// `SO_ORIGINAL_DST` (linux/netfilter_ipv4.h) and `IP6T_SO_ORIGINAL_DST` (linux/netfilter_ipv6/ip6_tables.h).
pub(crate) const ORIGINAL_DST: i32 = 80;

pub(crate) const EPERM: u8 = 1;
pub(crate) const ECONNREFUSED: u8 = 111;

/// `struct sockaddr_in`.
#[repr(C)]
pub(crate) struct SockaddrIn {
    pub(crate) family: u16,
    /// Network byte order.
    pub(crate) port: u16,
    /// Network byte order.
    pub(crate) address: u32,
    pub(crate) zero: [u32; 2],
}

/// `struct sockaddr_in6`.
#[repr(C)]
pub(crate) struct SockaddrIn6 {
    pub(crate) family: u16,
    /// Network byte order.
    pub(crate) port: u16,
    pub(crate) flow: u32,
    pub(crate) address: [u32; 4],
    pub(crate) scope: u32,
}

/// Reads four words of a context one by one: the verifier knows them at that width only.
///
/// # Safety
/// The pointer must lead to four words of a valid context.
#[inline(always)]
pub(crate) unsafe fn read_words(from: *const [u32; 4]) -> [u32; 4] {
    let first = from.cast::<u32>();
    // SAFETY: promised by the caller.
    unsafe {
        [
            first.read_volatile(),
            first.add(1).read_volatile(),
            first.add(2).read_volatile(),
            first.add(3).read_volatile(),
        ]
    }
}

/// Writes four words of a context one by one.
///
/// # Safety
/// The pointer must lead to four words of a valid context which the hook may write.
#[inline(always)]
pub(crate) unsafe fn write_words(to: *mut [u32; 4], words: &[u32; 4]) {
    let first = to.cast::<u32>();
    // SAFETY: promised by the caller.
    unsafe {
        first.write_volatile(words[0]);
        first.add(1).write_volatile(words[1]);
        first.add(2).write_volatile(words[2]);
        first.add(3).write_volatile(words[3]);
    }
}

/// The address of a socket, IPv4 in mapped form.
///
/// Takes both forms, read before one is chosen: loads in two branches are merged by the compiler into one through a computed
/// pointer, and the verifier answers "dereference of modified ctx ptr R4 off=24 disallowed" or "R6 pointer arithmetic
/// on sock prohibited".
#[inline(always)]
pub(crate) fn of_family(family: u32, ip4: u32, ip6: Address) -> Address {
    if family == u32::from(AF_INET) { mapped(ip4) } else { ip6 }
}
