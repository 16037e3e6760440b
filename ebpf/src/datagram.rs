//! `cgroup/sendmsg4` and `cgroup/sendmsg6`: the verdict on a datagram that names its destination itself.
//!
//! Datagrams are never captured: what rules deny is refused, everything else passes and is counted. A connected socket was
//! judged when it was connected.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use sidestep_abi::address::{Endpoint, mapped};

use crate::outbound::{conclude, judge_uncaptured};
use crate::sock_addr::{protocol, user_ip4, user_ip6, user_port};
use crate::workload::Workload;

/// Sidestep's verdict on an IPv4 datagram, those of IPv6 sockets to IPv4-mapped destinations included.
#[cgroup_sock_addr(sendmsg4)]
pub(crate) fn sidestep_sendmsg4(ctx: SockAddrContext) -> i32 {
    try_send(&ctx, Endpoint::new(mapped(user_ip4(&ctx)), user_port(&ctx)))
}

/// Sidestep's verdict on an IPv6 datagram.
#[cgroup_sock_addr(sendmsg6)]
pub(crate) fn sidestep_sendmsg6(ctx: SockAddrContext) -> i32 {
    try_send(&ctx, Endpoint::new(user_ip6(&ctx), user_port(&ctx)))
}

#[inline(always)]
fn try_send(ctx: &SockAddrContext, destination: Endpoint) -> i32 {
    let (workload, protocol) = (Workload::read(), protocol(ctx));
    let outcome = judge_uncaptured(workload.as_ref(), protocol, &destination);
    conclude(workload.as_ref(), protocol, destination, outcome)
}
