//! `cgroup/getsockopt`: answers `SO_ORIGINAL_DST` and `IP6T_SO_ORIGINAL_DST` as conntrack would, for proxies that are not ours.
//!
//! Runs for every `getsockopt()` of its cgroup, so that it is attached only to a foreign proxy's own cgroup. An outbound
//! connection answers with its handoff; an inbound one with the accepted socket's local address, which `sk_lookup` left
//! as the client dialled it. Everything else keeps the kernel's answer.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::macros::cgroup_sockopt;
use aya_ebpf::programs::SockoptContext;
use sidestep_abi::address::{Endpoint, is_v4};
use sidestep_abi::handoff::Role;

use crate::kernel::{
    AF_INET, AF_INET6, ORIGINAL_DST, SOL_IP, SOL_IPV6, SockaddrIn, SockaddrIn6, of_family, read_words,
};
use crate::note;
use crate::workload::Workload;

/// Answers for the original destination.
#[cgroup_sockopt(getsockopt)]
pub(crate) fn sidestep_getsockopt(ctx: SockoptContext) -> i32 {
    // SAFETY: the kernel hands a valid context.
    let (level, name, length) =
        unsafe { ((*ctx.sockopt).level, (*ctx.sockopt).optname, (*ctx.sockopt).optlen) };
    if name == ORIGINAL_DST && level == SOL_IP {
        answer4(&ctx);
    } else if name == ORIGINAL_DST && level == SOL_IPV6 {
        answer6(&ctx);
    } else if length > PAGE_SIZE {
        // Only the first page is visible here; zero tells the kernel to keep its own, longer answer.
        // SAFETY: as above.
        unsafe { addr_of_mut!((*ctx.sockopt).optlen).write_volatile(0) };
    }
    1
}

const PAGE_SIZE: i32 = 4096;

#[inline(always)]
fn answer4(ctx: &SockoptContext) {
    let Some(destination) = original_destination(ctx).filter(|endpoint| is_v4(&endpoint.address)) else {
        return;
    };
    // SAFETY: the kernel hands valid bounds of the option's buffer.
    let (value, end) =
        unsafe { ((*ctx.sockopt).__bindgen_anon_2.optval, (*ctx.sockopt).__bindgen_anon_3.optval_end) };
    let name = value.cast::<SockaddrIn>();
    // SAFETY: only compared, for the verifier and for us.
    if unsafe { name.add(1) }.cast() > end {
        return;
    }
    // SAFETY: inside the bounds, as just checked.
    unsafe {
        *name = SockaddrIn {
            family: AF_INET,
            port: destination.port.to_be(),
            address: destination.address[3],
            zero: [0; 2],
        };
    }
    succeed(ctx, size_of::<SockaddrIn>());
}

#[inline(always)]
fn answer6(ctx: &SockoptContext) {
    let Some(destination) = original_destination(ctx) else { return };
    // SAFETY: the kernel hands valid bounds of the option's buffer.
    let (value, end) =
        unsafe { ((*ctx.sockopt).__bindgen_anon_2.optval, (*ctx.sockopt).__bindgen_anon_3.optval_end) };
    let name = value.cast::<SockaddrIn6>();
    // SAFETY: only compared, for the verifier and for us.
    if unsafe { name.add(1) }.cast() > end {
        return;
    }
    // SAFETY: inside the bounds, as just checked.
    unsafe {
        *name = SockaddrIn6 {
            family: AF_INET6,
            port: destination.port.to_be(),
            flow: 0,
            address: destination.address,
            scope: 0,
        };
    }
    succeed(ctx, size_of::<SockaddrIn6>());
}

/// Turns the kernel's error (there is no conntrack entry) into success.
///
/// Both stores are volatile: merged into one of eight bytes they are an "invalid bpf_context access".
#[inline(always)]
fn succeed(ctx: &SockoptContext, length: usize) {
    // SAFETY: the kernel hands a valid context whose two fields may be written.
    unsafe {
        addr_of_mut!((*ctx.sockopt).optlen).write_volatile(length as i32);
        addr_of_mut!((*ctx.sockopt).retval).write_volatile(0);
    }
}

/// Where the client of this socket wanted to go; `None` for a socket that capture did not bring.
#[inline(always)]
fn original_destination(ctx: &SockoptContext) -> Option<Endpoint> {
    // SAFETY: the kernel hands a valid context.
    let sk = unsafe { (*ctx.sockopt).__bindgen_anon_1.sk };
    if sk.is_null() {
        return None;
    }
    // SAFETY: a socket of the hook's, not null.
    if let Some(handoff) = unsafe { note::read(sk.cast()) } {
        return (handoff.role == Role::OriginalDestination as u8).then_some(handoff.endpoint);
    }
    inbound_destination(sk)
}

/// The local address of a socket that `sk_lookup` steered: its port is not the one that its listener was bound to.
#[inline(always)]
fn inbound_destination(sk: *mut bpf_sock) -> Option<Endpoint> {
    let workload = Workload::read()?;
    // SAFETY: `sk` is the socket of a valid context.
    let (family, port, ip4, ip6) = unsafe {
        (
            addr_of!((*sk).family).read_volatile(),
            addr_of!((*sk).src_port).read_volatile() as u16,
            addr_of!((*sk).src_ip4).read_volatile(),
            read_words(addr_of!((*sk).src_ip6)),
        )
    };
    let ports = workload.settings.inbound_ports;
    let proxys = port == ports[0] || port == ports[1] || port == workload.settings.outbound4_port;
    if ports[0] == 0 || proxys || !workload.captures_inbound(port) {
        return None;
    }
    Some(Endpoint::new(of_family(family, ip4, ip6), port))
}
