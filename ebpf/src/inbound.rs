//! `sk_lookup`: the verdict on an inbound connection, given where the kernel looks for a listener.
//!
//! The accepted socket keeps the address the client dialled as its local address, so that the original destination
//! needs no handoff. Loopback, the workload's own addresses and ports that are not captured find their listener as always.

use core::ptr::addr_of;

use aya_ebpf::bindings::sk_action;
use aya_ebpf::macros::sk_lookup;
use aya_ebpf::programs::SkLookupContext;
use sidestep_abi::maps::ListenerSlot;
use sidestep_abi::verdict::{Direction, Reason, Verdict};

use crate::count;
use crate::kernel::{AF_INET, IPPROTO_TCP, of_family, read_words};
use crate::maps::LISTENERS;
use crate::workload::{Workload, is_loopback, is_own};

/// Steers inbound connections to the instance.
#[sk_lookup]
pub(crate) fn sidestep_inbound(ctx: SkLookupContext) -> u32 {
    // SAFETY: the kernel hands a valid context.
    if unsafe { addr_of!((*ctx.lookup).protocol).read_volatile() } != IPPROTO_TCP {
        return sk_action::SK_PASS;
    }
    let (verdict, reason) = try_steer(&ctx);
    count::verdict(Direction::Inbound, verdict, reason);
    match verdict {
        Verdict::Direct | Verdict::Proxy => sk_action::SK_PASS,
        Verdict::Deny => sk_action::SK_DROP,
    }
}

/// The verdict; a captured connection is assigned to the instance's listener before this returns.
#[inline(always)]
fn try_steer(ctx: &SkLookupContext) -> (Verdict, Reason) {
    let Some(workload) = Workload::read() else { return (Verdict::Deny, Reason::Unsettled) };
    // SAFETY: the kernel hands a valid context; volatile keeps each access at the width the verifier knows.
    let (family, port, local, remote) = unsafe {
        let family = addr_of!((*ctx.lookup).family).read_volatile();
        let local_ip4 = addr_of!((*ctx.lookup).local_ip4).read_volatile();
        let local_ip6 = read_words(addr_of!((*ctx.lookup).local_ip6));
        let remote_ip4 = addr_of!((*ctx.lookup).remote_ip4).read_volatile();
        let remote_ip6 = read_words(addr_of!((*ctx.lookup).remote_ip6));
        (
            family,
            addr_of!((*ctx.lookup).local_port).read_volatile(),
            of_family(family, local_ip4, local_ip6),
            of_family(family, remote_ip4, remote_ip6),
        )
    };
    if is_loopback(&local) || is_loopback(&remote) {
        return (Verdict::Direct, Reason::Loopback);
    }
    // Before the list of own addresses: an address that is local without being listed (an AnyIP route) would come back for
    // ever when the instance dials it.
    if local == remote || is_own(&remote) {
        return (Verdict::Direct, Reason::OwnAddress);
    }
    if !workload.captures_inbound(port as u16) {
        return (Verdict::Direct, Reason::PortNotCaptured);
    }
    let slot = if family == u32::from(AF_INET) { ListenerSlot::Inbound4 } else { ListenerSlot::Inbound6 };
    match LISTENERS.redirect_sk_lookup(ctx, slot as u32, 0) {
        Ok(()) => (Verdict::Proxy, Reason::Rule),
        Err(_) => workload.without_instance(),
    }
}
