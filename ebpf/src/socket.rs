//! `cgroup/sock_create`: where the workload is denied whatever no rule names, it gets no socket whose destinations no rule
//! could hold: SCTP, UDP-Lite, raw and ping sockets, and whatever else is neither TCP, MPTCP nor UDP.
//!
//! Runs for `AF_INET` and `AF_INET6` alone: packet sockets and VSOCK are not seen. The kernel's own sockets are not, either.

use core::ptr::addr_of;

use aya_ebpf::macros::cgroup_sock;
use aya_ebpf::programs::SockContext;
use sidestep_abi::verdict::{Direction, Reason, Verdict};

use crate::count::{self, NOWHERE};
use crate::kernel::{EPERM, IPPROTO_MPTCP, IPPROTO_TCP, IPPROTO_UDP, SOCK_DGRAM, SOCK_STREAM};
use crate::outbound::{ALLOW, REFUSE};
use crate::workload::Workload;

/// Sidestep's verdict on a socket that is being made.
#[cgroup_sock(sock_create)]
pub(crate) fn sidestep_sock_create(ctx: SockContext) -> i32 {
    // SAFETY: the kernel hands a valid context.
    let (kind, protocol) = unsafe {
        (addr_of!((*ctx.sock).type_).read_volatile(), addr_of!((*ctx.sock).protocol).read_volatile())
    };
    // A raw socket may bear the number of any protocol.
    if let (SOCK_STREAM, IPPROTO_TCP | IPPROTO_MPTCP) | (SOCK_DGRAM, IPPROTO_UDP) = (kind, protocol) {
        return ALLOW;
    }
    match try_create() {
        Ok((verdict, reason)) => {
            count::verdict(Direction::Outbound, verdict, reason);
            ALLOW
        }
        Err(reason) => {
            count::denial(protocol, NOWHERE, reason, EPERM);
            REFUSE
        }
    }
}

#[inline(always)]
fn try_create() -> Result<(Verdict, Reason), Reason> {
    let workload = Workload::read().ok_or(Reason::Unsettled)?;
    if workload.is_instance() {
        return Ok((Verdict::Direct, Reason::Instance));
    }
    match workload.default_verdict() {
        Verdict::Deny => Err(Reason::OtherProtocol),
        Verdict::Direct | Verdict::Proxy => Ok((Verdict::Direct, Reason::OtherProtocol)),
    }
}
