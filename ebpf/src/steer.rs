//! Steering a connecting socket to the instance: the note of where it wanted to go, and the address it goes to instead.
//!
//! Called by the connect hooks once the verdict is `proxy`; decides nothing but where the instance is reached.

use core::ffi::c_void;
use core::mem::size_of;
use core::ptr::{addr_of, from_mut};

use aya_ebpf::bindings::{bpf_sock, sockaddr};
use aya_ebpf::helpers::generated::{bpf_bind, bpf_setsockopt, bpf_skc_to_mptcp_sock};
use aya_ebpf::programs::SockAddrContext;
use sidestep_abi::address::{Address, Endpoint, is_v4, mapped};
use sidestep_abi::handoff::{Handoff, Role};
use sidestep_abi::maps::ListenerSlot;
use sidestep_abi::settings::OUTBOUND6_PORTS;
use sidestep_abi::verdict::{Reason, Verdict};

use crate::kernel::{AF_INET, AF_INET6, SO_BINDTOIFINDEX, SOL_SOCKET, SockaddrIn, SockaddrIn6, read_words};
use crate::note;
use crate::sock_addr::{Hook, socket, write_user_ip4, write_user_ip6, write_user_port};
use crate::workload::{self, Workload, listener_stands};

/// Notes the original destination on the socket and points the socket at the instance.
#[inline(always)]
pub(crate) fn to_instance(
    ctx: &SockAddrContext,
    hook: Hook,
    workload: &Workload,
    destination: Endpoint,
    reason: Reason,
) -> (Verdict, Reason) {
    let spread = spread(&destination);
    // The first half is known at compile time: without it Linux 6.1 walks the IPv6 branch in connect4, and refuses what it
    // finds there ("invalid bpf_context access off=8 size=4").
    let to_v4 = hook == Hook::Connect4 || is_v4(&destination.address);
    let (port, slot) = if to_v4 {
        (workload.settings.outbound4_port, ListenerSlot::Outbound4 as u32)
    } else {
        let index = spread as usize & (OUTBOUND6_PORTS - 1);
        (workload.settings.outbound6_ports[index], workload::outbound6_slot(index as u32))
    };
    if port == 0 || !listener_stands(slot) {
        return workload.without_instance();
    }
    let sk = socket(ctx);
    if !free_of_device(ctx, sk) {
        return (Verdict::Deny, Reason::BoundDevice);
    }
    let handoff = Handoff {
        endpoint: destination,
        role: Role::OriginalDestination as u8,
        reason: reason as u8,
        padding: 0,
    };
    if !note_down(sk, handoff) {
        return (Verdict::Deny, Reason::StorageFull);
    }
    if to_v4 {
        let low = spread & workload.settings.outbound4_mask;
        let ip4 = workload.settings.outbound4 | low.to_be();
        match hook {
            Hook::Connect4 => {
                keep_source4(ctx, workload.settings.source4, sk);
                write_user_ip4(ctx, ip4);
            }
            Hook::Connect6 => {
                if workload.settings.source4 != 0 {
                    keep_source6(ctx, mapped(workload.settings.source4), sk);
                }
                write_user_ip6(ctx, &mapped(ip4));
            }
        }
    } else {
        keep_source6(ctx, workload.settings.source6, sk);
        write_user_ip6(ctx, &[0, 0, 0, 1_u32.to_be()]);
    }
    write_user_port(ctx, port);
    (Verdict::Proxy, reason)
}

/// Voids what an earlier, failed `connect()` of the socket noted: this one is not captured.
#[inline(always)]
pub(crate) fn forget(ctx: &SockAddrContext) {
    let sk = socket(ctx);
    // SAFETY: the hook's own socket.
    unsafe { note::erase(sk.cast()) };
    let parent = mptcp_parent(sk);
    if !parent.is_null() {
        // SAFETY: not null, and a socket.
        unsafe { note::erase(parent) };
    }
}

/// Writes the note on the socket; `false` if there is no memory for it.
#[inline(always)]
fn note_down(sk: *mut bpf_sock, handoff: Handoff) -> bool {
    // SAFETY: the hook's own socket.
    if unsafe { !note::write(sk.cast(), handoff) } {
        return false;
    }
    let parent = mptcp_parent(sk);
    // SAFETY: not null, and a socket.
    parent.is_null() || unsafe { note::write(parent, handoff) }
}

/// The MPTCP connection that a socket is a subflow of, or null. An MPTCP connection is seen by the hooks through its first
/// subflow, but `getpeername()` asks the parent: both have to know.
#[inline(always)]
fn mptcp_parent(sk: *mut bpf_sock) -> *mut c_void {
    // SAFETY: takes a socket, returns its MPTCP parent or null.
    unsafe { bpf_skc_to_mptcp_sock(sk.cast()) }.cast()
}

/// A socket bound to a network device could not reach a loopback address, so the binding is undone; the instance dials
/// by the routes of the namespace.
#[inline(always)]
fn free_of_device(ctx: &SockAddrContext, sk: *mut bpf_sock) -> bool {
    // SAFETY: `sk` is the socket of a valid context.
    if unsafe { addr_of!((*sk).bound_dev_if).read_volatile() } == 0 {
        return true;
    }
    let mut any_device = 0_i32;
    // SAFETY: the option value lives as long as the call.
    let result = unsafe {
        bpf_setsockopt(
            ctx.sock_addr.cast(),
            SOL_SOCKET,
            SO_BINDTOIFINDEX,
            from_mut(&mut any_device).cast(),
            size_of::<i32>() as i32,
        )
    };
    result == 0
}

/// Gives a socket without a source address the one that it would show without capture, so that programs which announce
/// their `getsockname()` do not announce 127.0.0.1. Failure is harmless: the kernel then chooses.
#[inline(always)]
fn keep_source4(ctx: &SockAddrContext, source: u32, sk: *mut bpf_sock) {
    // SAFETY: `sk` is the socket of a valid context.
    let (bound_ip, bound_port) =
        unsafe { (addr_of!((*sk).src_ip4).read_volatile(), addr_of!((*sk).src_port).read_volatile()) };
    if source == 0 || bound_ip != 0 || bound_port != 0 {
        return;
    }
    let mut name = SockaddrIn { family: AF_INET, port: 0, address: source, zero: [0; 2] };
    // SAFETY: the name lives as long as the call.
    unsafe {
        bpf_bind(ctx.sock_addr, from_mut(&mut name).cast::<sockaddr>(), size_of::<SockaddrIn>() as i32)
    };
}

/// As [`keep_source4`], for IPv6 sockets, whose source may be IPv4 in mapped form.
#[inline(always)]
fn keep_source6(ctx: &SockAddrContext, source: Address, sk: *mut bpf_sock) {
    // SAFETY: `sk` is the socket of a valid context.
    let (bound, bound_port) =
        unsafe { (read_words(addr_of!((*sk).src_ip6)), addr_of!((*sk).src_port).read_volatile()) };
    if source == [0; 4] || bound != [0; 4] || bound_port != 0 {
        return;
    }
    let mut name = SockaddrIn6 { family: AF_INET6, port: 0, flow: 0, address: source, scope: 0 };
    // SAFETY: the name lives as long as the call.
    unsafe {
        bpf_bind(ctx.sock_addr, from_mut(&mut name).cast::<sockaddr>(), size_of::<SockaddrIn6>() as i32)
    };
}

/// Spreads destinations over the owned range: one destination always meets the same address, so that reusing a
/// local port towards another destination works as it does without capture. (Multiply-shift of the FNV kind.)
#[inline(always)]
fn spread(destination: &Endpoint) -> u32 {
    const ODD: u32 = 0x9e37_79b1;
    let mut mixed = destination.address[0];
    mixed = (mixed ^ destination.address[1]).wrapping_mul(ODD);
    mixed = (mixed ^ destination.address[2]).wrapping_mul(ODD);
    mixed = (mixed ^ destination.address[3]).wrapping_mul(ODD);
    mixed = (mixed ^ (mixed >> 15) ^ u32::from(destination.port)).wrapping_mul(ODD);
    mixed ^ (mixed >> 16)
}

const _: () = assert!(OUTBOUND6_PORTS.is_power_of_two());
