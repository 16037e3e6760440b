//! `cgroup/connect4` and `cgroup/connect6`: the verdict on an outbound connection, given in the caller's own
//! `connect()`, before a packet exists.
//!
//! Covers blocking and non-blocking connects, TCP fast open, sockets bound before and io_uring. Sockets that belong to
//! another cgroup are not seen, whoever uses them. UDP is refused where rules deny it, and never captured.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use sidestep_abi::address::{Endpoint, mapped};
use sidestep_abi::verdict::{Reason, Verdict};

use crate::kernel::{IPPROTO_MPTCP, IPPROTO_TCP};
use crate::outbound::{conclude, judge, judge_uncaptured, unless_link_local};
use crate::sock_addr::{Hook, protocol, user_ip4, user_ip6, user_port};
use crate::steer;
use crate::workload::Workload;

/// Sidestep's verdict on IPv4 connects.
#[cgroup_sock_addr(connect4)]
pub(crate) fn sidestep_connect4(ctx: SockAddrContext) -> i32 {
    try_connect(&ctx, Hook::Connect4, Endpoint::new(mapped(user_ip4(&ctx)), user_port(&ctx)))
}

/// Sidestep's verdict on IPv6 connects, IPv4-mapped destinations included.
#[cgroup_sock_addr(connect6)]
pub(crate) fn sidestep_connect6(ctx: SockAddrContext) -> i32 {
    try_connect(&ctx, Hook::Connect6, Endpoint::new(user_ip6(&ctx), user_port(&ctx)))
}

/// Gives and carries out the verdict.
#[inline(always)]
fn try_connect(ctx: &SockAddrContext, hook: Hook, destination: Endpoint) -> i32 {
    let (workload, protocol) = (Workload::read(), protocol(ctx));
    let outcome = match (protocol, &workload) {
        (IPPROTO_TCP | IPPROTO_MPTCP, Some(workload)) => try_steer(ctx, hook, workload, destination),
        _ => judge_uncaptured(workload.as_ref(), protocol, &destination),
    };
    #[cfg(feature = "trace")]
    aya_log_ebpf::debug!(
        ctx,
        "connect to {:i}:{} protocol {} verdict {} reason {}",
        address_bytes(&destination),
        destination.port,
        protocol,
        outcome.0 as u8,
        outcome.1 as u8
    );
    conclude(workload.as_ref(), protocol, destination, outcome)
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

/// The verdict on a TCP destination; a captured socket is steered to the instance before this returns.
#[inline(always)]
fn try_steer(
    ctx: &SockAddrContext,
    hook: Hook,
    workload: &Workload,
    destination: Endpoint,
) -> (Verdict, Reason) {
    if workload.is_instance() {
        return (Verdict::Direct, Reason::Instance);
    }
    let outcome = match unless_link_local(judge(workload, &destination), &destination) {
        (Verdict::Proxy, reason) => steer::to_instance(ctx, hook, workload, destination, reason),
        outcome => outcome,
    };
    if outcome.0 != Verdict::Proxy {
        // The socket may have been captured in an earlier connect() that failed: what it noted then is void now.
        steer::forget(ctx);
    }
    outcome
}
