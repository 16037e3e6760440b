//! `sk_lookup`: the verdict on an inbound connection, given where the kernel looks for a listener.
//!
//! The accepted socket keeps the address the client dialled as its local address, so that the original destination
//! needs no handoff. Loopback, the workload's own addresses and ports that are not captured find their listener as always.
//! A refusal is answered with a reset, as if nobody listened. The inbound rules hold only what policy denies whatever is
//! said in plain text; who comes through the tunnel may prove more, and is decided there.

use core::ptr::addr_of;

use aya_ebpf::bindings::sk_action;
use aya_ebpf::macros::sk_lookup;
use aya_ebpf::programs::SkLookupContext;
use sidestep_abi::address::Endpoint;
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
    let call = Call::read(&ctx);
    match try_steer(&ctx, &call) {
        (Verdict::Deny, reason) => {
            count::inbound_denial(call.remote, call.local, reason);
            sk_action::SK_DROP
        }
        (verdict, reason) => {
            count::verdict(Direction::Inbound, verdict, reason);
            sk_action::SK_PASS
        }
    }
}

/// Somebody's wish to connect.
struct Call {
    is_v4: bool,
    local: Endpoint,
    remote: Endpoint,
}

impl Call {
    #[inline(always)]
    fn read(ctx: &SkLookupContext) -> Self {
        // SAFETY: the kernel hands a valid context; volatile keeps each access at the width the verifier knows.
        unsafe {
            let family = addr_of!((*ctx.lookup).family).read_volatile();
            let local_ip4 = addr_of!((*ctx.lookup).local_ip4).read_volatile();
            let local_ip6 = read_words(addr_of!((*ctx.lookup).local_ip6));
            let local_port = addr_of!((*ctx.lookup).local_port).read_volatile() as u16;
            let remote_ip4 = addr_of!((*ctx.lookup).remote_ip4).read_volatile();
            let remote_ip6 = read_words(addr_of!((*ctx.lookup).remote_ip6));
            // Unlike its neighbour, in network byte order (include/uapi/linux/bpf.h).
            let remote_port = u16::from_be(addr_of!((*ctx.lookup).remote_port).read_volatile());
            Self {
                is_v4: family == u32::from(AF_INET),
                local: Endpoint::new(of_family(family, local_ip4, local_ip6), local_port),
                remote: Endpoint::new(of_family(family, remote_ip4, remote_ip6), remote_port),
            }
        }
    }
}

/// The verdict; a captured connection is assigned to the instance's listener before this returns.
#[inline(always)]
fn try_steer(ctx: &SkLookupContext, call: &Call) -> (Verdict, Reason) {
    let Some(workload) = Workload::read() else { return (Verdict::Deny, Reason::Unsettled) };
    let (local, remote, port) = (&call.local.address, &call.remote.address, call.local.port);
    if is_loopback(local) || is_loopback(remote) {
        return (Verdict::Direct, Reason::Loopback);
    }
    // Before the list of own addresses: an address that is local without being listed (an AnyIP route) would come back for
    // ever when the instance dials it.
    if local == remote || is_own(remote) {
        return (Verdict::Direct, Reason::OwnAddress);
    }
    let (slot4, slot6, reason) = if port != 0 && port == workload.settings.tunnel_port {
        (ListenerSlot::Tunnel4, ListenerSlot::Tunnel6, Reason::Tunnel)
    } else if !workload.captures_inbound(port) {
        return (Verdict::Direct, Reason::PortNotCaptured);
    } else if workload.refuses_plain_text(port) {
        return (Verdict::Deny, Reason::PlainText);
    } else if let Some(denied @ (Verdict::Deny, _)) = workload.rule(Direction::Inbound, remote, port) {
        return denied;
    } else {
        (ListenerSlot::Inbound4, ListenerSlot::Inbound6, Reason::Rule)
    };
    let slot = if call.is_v4 { slot4 } else { slot6 };
    match LISTENERS.redirect_sk_lookup(ctx, slot as u32, 0) {
        Ok(()) => (Verdict::Proxy, reason),
        Err(_) => workload.without_instance(),
    }
}
