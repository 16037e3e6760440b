//! `cgroup/connect4` and `cgroup/connect6`: the verdict on an outbound connection, given in the caller's own
//! `connect()`, before a packet exists.
//!
//! Covers blocking and non-blocking connects, TCP fast open, sockets bound before and io_uring. Sockets that belong to
//! another cgroup are not seen, whoever uses them. It never touches UDP.

use aya_ebpf::helpers::generated::bpf_set_retval;
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use sidestep_abi::address::{Address, Endpoint, OWNED_RANGE4, OWNED_RANGE4_BITS, is_v4, mapped};
use sidestep_abi::verdict::{Direction, Reason, Verdict};

use crate::kernel::{ECONNREFUSED, IPPROTO_MPTCP, IPPROTO_TCP, IPPROTO_UDP};
use crate::sock_addr::{Hook, protocol, user_ip4, user_ip6, user_port};
use crate::workload::{Workload, is_link_local, is_loopback, is_own};
use crate::{count, steer};

/// Return values of the hook (include/linux/bpf-cgroup.h).
const ALLOW: i32 = 1;
const REFUSE: i32 = 0;

/// Sidestep's verdict on IPv4 connects.
#[cgroup_sock_addr(connect4)]
pub(crate) fn sidestep_connect4(ctx: SockAddrContext) -> i32 {
    conclude(&ctx, Hook::Connect4, Endpoint::new(mapped(user_ip4(&ctx)), user_port(&ctx)))
}

/// Sidestep's verdict on IPv6 connects, IPv4-mapped destinations included.
#[cgroup_sock_addr(connect6)]
pub(crate) fn sidestep_connect6(ctx: SockAddrContext) -> i32 {
    conclude(&ctx, Hook::Connect6, Endpoint::new(user_ip6(&ctx), user_port(&ctx)))
}

/// Gives, counts and carries out the verdict.
#[inline(always)]
fn conclude(ctx: &SockAddrContext, hook: Hook, destination: Endpoint) -> i32 {
    let workload = Workload::read();
    let (verdict, reason) = match &workload {
        Some(workload) => try_connect(ctx, hook, workload, destination),
        None => passes_unseen(ctx).unwrap_or((Verdict::Deny, Reason::Unsettled)),
    };
    #[cfg(feature = "trace")]
    aya_log_ebpf::debug!(
        ctx,
        "connect to {:i}:{} verdict {} reason {}",
        address_bytes(&destination),
        destination.port,
        verdict as u8,
        reason as u8
    );
    match verdict {
        Verdict::Deny => {
            let errno = workload.as_ref().map_or(ECONNREFUSED, |workload| workload.settings.deny_errno);
            count::denial(destination, reason, errno);
            // SAFETY: takes and returns a number.
            unsafe { bpf_set_retval(-i32::from(errno)) };
            REFUSE
        }
        Verdict::Direct | Verdict::Proxy => {
            count::verdict(Direction::Outbound, verdict, reason);
            ALLOW
        }
    }
}

/// An address as aya-log prints it.
#[cfg(feature = "trace")]
#[inline(always)]
fn address_bytes(endpoint: &Endpoint) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (chunk, word) in bytes.chunks_exact_mut(4).zip(endpoint.address) {
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

/// Protocols that are none of our business.
#[inline(always)]
fn passes_unseen(ctx: &SockAddrContext) -> Option<(Verdict, Reason)> {
    match protocol(ctx) {
        IPPROTO_TCP | IPPROTO_MPTCP => None,
        IPPROTO_UDP => Some((Verdict::Direct, Reason::Udp)),
        _ => Some((Verdict::Direct, Reason::OtherProtocol)),
    }
}

/// The verdict on a destination; a captured socket is steered to the instance before this returns.
#[inline(always)]
fn try_connect(
    ctx: &SockAddrContext,
    hook: Hook,
    workload: &Workload,
    destination: Endpoint,
) -> (Verdict, Reason) {
    if let Some(outcome) = passes_unseen(ctx) {
        return outcome;
    }
    if workload.is_instance() {
        return (Verdict::Direct, Reason::Instance);
    }
    let outcome = match judge(workload, &destination) {
        (Verdict::Proxy, reason) => steer::to_instance(ctx, hook, workload, destination, reason),
        outcome => outcome,
    };
    if outcome.0 != Verdict::Proxy {
        // The socket may have been captured in an earlier connect() that failed: what it noted then is void now.
        steer::forget(ctx);
    }
    outcome
}

/// The verdict by destination alone.
#[inline(always)]
fn judge(workload: &Workload, destination: &Endpoint) -> (Verdict, Reason) {
    let address = &destination.address;
    if is_loopback(address) {
        return if is_in_owned_range(address) {
            (Verdict::Deny, Reason::OwnedRange)
        } else {
            (Verdict::Direct, Reason::Loopback)
        };
    }
    if is_own(address) {
        return (Verdict::Direct, Reason::OwnAddress);
    }
    match workload.rule(address, destination.port) {
        // Its zone cannot be handed on; a rule that refuses it holds all the same.
        (Verdict::Proxy, _) if is_link_local(address) => (Verdict::Direct, Reason::LinkLocal),
        outcome => outcome,
    }
}

/// Whether an address lies in the range that captured connections are rewritten into.
#[inline(always)]
fn is_in_owned_range(address: &Address) -> bool {
    let range = u32::from_be_bytes(OWNED_RANGE4.octets()) >> (32 - OWNED_RANGE4_BITS);
    is_v4(address) && u32::from_be(address[3]) >> (32 - OWNED_RANGE4_BITS) == range
}
