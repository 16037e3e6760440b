//! `cgroup/sendmsg4` and `cgroup/sendmsg6`: counts UDP datagrams of unconnected sockets. They pass untouched.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use sidestep_abi::verdict::{Direction, Reason, Verdict};

use crate::count;

/// Counts an unconnected IPv4 datagram.
#[cgroup_sock_addr(sendmsg4)]
pub(crate) fn sidestep_sendmsg4(_ctx: SockAddrContext) -> i32 {
    pass()
}

/// Counts an unconnected IPv6 datagram.
#[cgroup_sock_addr(sendmsg6)]
pub(crate) fn sidestep_sendmsg6(_ctx: SockAddrContext) -> i32 {
    pass()
}

#[inline(always)]
fn pass() -> i32 {
    count::verdict(Direction::Outbound, Verdict::Direct, Reason::Udp);
    1
}
