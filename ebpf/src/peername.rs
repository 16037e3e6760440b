//! `cgroup/getpeername4` and `cgroup/getpeername6`: the workload sees the peer it expects.
//!
//! The kernel runs these for `getpeername()` and for the address that `accept()` returns. A socket that the workload
//! connected shows the original destination; a socket that it accepted shows the real client. The instance, where it lives in
//! the workload's cgroup, sees the plain addresses.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use sidestep_abi::address::{Endpoint, is_v4};

use crate::note;
use crate::sock_addr::{socket, write_user_ip4, write_user_ip6, write_user_port};
use crate::workload::Workload;

/// Shows the expected peer of an IPv4 socket.
#[cgroup_sock_addr(getpeername4)]
pub(crate) fn sidestep_getpeername4(ctx: SockAddrContext) -> i32 {
    if let Some(peer) = expected_peer(&ctx).filter(|peer| is_v4(&peer.address)) {
        write_user_ip4(&ctx, peer.address[3]);
        write_user_port(&ctx, peer.port);
    }
    1
}

/// Shows the expected peer of an IPv6 socket; an IPv4 peer in mapped form, as the kernel does.
#[cgroup_sock_addr(getpeername6)]
pub(crate) fn sidestep_getpeername6(ctx: SockAddrContext) -> i32 {
    if let Some(peer) = expected_peer(&ctx) {
        write_user_ip6(&ctx, &peer.address);
        write_user_port(&ctx, peer.port);
    }
    1
}

/// The endpoint noted on the socket, unless the instance itself asks.
#[inline(always)]
fn expected_peer(ctx: &SockAddrContext) -> Option<Endpoint> {
    // SAFETY: the hook's own socket.
    let handoff = unsafe { note::read(socket(ctx).cast()) }?;
    if Workload::read().is_some_and(|workload| workload.is_instance()) {
        return None;
    }
    Some(handoff.endpoint)
}
