//! The fields of `struct bpf_sock_addr`, read and written at the widths that the verifier knows.
//!
//! All accesses are volatile, so that the compiler neither merges nor widens them.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::programs::SockAddrContext;
use sidestep_abi::address::Address;

use crate::kernel::{read_words, write_words};

/// Which connect hook runs: each may touch only the fields of its own family.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    Connect4,
    Connect6,
}

/// The socket that the hook runs for.
#[inline(always)]
pub(crate) fn socket(ctx: &SockAddrContext) -> *mut bpf_sock {
    // SAFETY: the kernel hands a valid context.
    unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk }
}

/// `IPPROTO_…` of the socket.
#[inline(always)]
pub(crate) fn protocol(ctx: &SockAddrContext) -> u32 {
    // SAFETY: the kernel hands a valid context.
    unsafe { addr_of!((*ctx.sock_addr).protocol).read_volatile() }
}

/// The address of an IPv4 hook, network byte order.
#[inline(always)]
pub(crate) fn user_ip4(ctx: &SockAddrContext) -> u32 {
    // SAFETY: the kernel hands a valid context.
    unsafe { addr_of!((*ctx.sock_addr).user_ip4).read_volatile() }
}

/// The address of an IPv6 hook.
#[inline(always)]
pub(crate) fn user_ip6(ctx: &SockAddrContext) -> Address {
    // SAFETY: the kernel hands a valid context.
    unsafe { read_words(addr_of!((*ctx.sock_addr).user_ip6)) }
}

/// The port, host byte order.
#[inline(always)]
pub(crate) fn user_port(ctx: &SockAddrContext) -> u16 {
    // SAFETY: the kernel hands a valid context. The port is a big-endian u16 in a u32.
    u16::from_be(unsafe { addr_of!((*ctx.sock_addr).user_port).read_volatile() } as u16)
}

/// Replaces the address of an IPv4 hook (network byte order).
#[inline(always)]
pub(crate) fn write_user_ip4(ctx: &SockAddrContext, ip4: u32) {
    // SAFETY: the kernel hands a valid context; this field may be written in connect4 and getpeername4.
    unsafe { addr_of_mut!((*ctx.sock_addr).user_ip4).write_volatile(ip4) };
}

/// Replaces the address of an IPv6 hook.
#[inline(always)]
pub(crate) fn write_user_ip6(ctx: &SockAddrContext, address: &Address) {
    // SAFETY: the kernel hands a valid context; these fields may be written in connect6 and getpeername6.
    unsafe { write_words(addr_of_mut!((*ctx.sock_addr).user_ip6), address) };
}

/// Replaces the port (host byte order).
#[inline(always)]
pub(crate) fn write_user_port(ctx: &SockAddrContext, port: u16) {
    // SAFETY: the kernel hands a valid context; the port is a big-endian u16 in a u32.
    unsafe { addr_of_mut!((*ctx.sock_addr).user_port).write_volatile(u32::from(port.to_be())) };
}
