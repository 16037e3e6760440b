//! What the hooks of the workload's own calls have in common: the verdict by destination alone, and how a verdict is
//! counted, told and answered.

use aya_ebpf::helpers::generated::bpf_set_retval;
use sidestep_abi::address::{Address, Endpoint, OWNED_RANGE4, OWNED_RANGE4_BITS, is_v4};
use sidestep_abi::verdict::{Direction, Reason, Verdict};

use crate::count;
use crate::kernel::{ECONNREFUSED, IPPROTO_UDP};
use crate::workload::{Workload, is_link_local, is_loopback, is_own};

/// Return values of the hooks (include/linux/bpf-cgroup.h).
pub(crate) const ALLOW: i32 = 1;
pub(crate) const REFUSE: i32 = 0;

/// The verdict by destination alone.
#[inline(always)]
pub(crate) fn judge(workload: &Workload, destination: &Endpoint) -> (Verdict, Reason) {
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
    match workload.rule(Direction::Outbound, address, destination.port) {
        None => (workload.default_verdict(), Reason::Default),
        Some(outcome) => outcome,
    }
}

/// The verdict on what is not TCP and cannot be captured: what rules deny is refused, everything else passes.
#[inline(always)]
pub(crate) fn judge_uncaptured(
    workload: Option<&Workload>,
    protocol: u32,
    destination: &Endpoint,
) -> (Verdict, Reason) {
    let Some(workload) = workload else { return (Verdict::Deny, Reason::Unsettled) };
    if workload.is_instance() {
        return (Verdict::Direct, Reason::Instance);
    }
    match judge(workload, destination) {
        denied @ (Verdict::Deny, _) => denied,
        _ if protocol == IPPROTO_UDP => (Verdict::Direct, Reason::Udp),
        _ => (Verdict::Direct, Reason::OtherProtocol),
    }
}

/// Counts a verdict and answers the kernel with it; a refusal is reported, and the caller gets its errno.
#[inline(always)]
pub(crate) fn conclude(
    workload: Option<&Workload>,
    protocol: u32,
    destination: Endpoint,
    (verdict, reason): (Verdict, Reason),
) -> i32 {
    match verdict {
        Verdict::Deny => {
            let errno = workload.map_or(ECONNREFUSED, |workload| workload.settings.deny_errno);
            count::denial(protocol, destination, reason, errno);
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

/// Turns `proxy` into what becomes of a destination that cannot be handed on; a rule that refuses it holds all the same.
#[inline(always)]
pub(crate) fn unless_link_local(outcome: (Verdict, Reason), destination: &Endpoint) -> (Verdict, Reason) {
    match outcome {
        (Verdict::Proxy, _) if is_link_local(&destination.address) => (Verdict::Direct, Reason::LinkLocal),
        outcome => outcome,
    }
}

/// Whether an address lies in the range that captured connections are rewritten into.
#[inline(always)]
fn is_in_owned_range(address: &Address) -> bool {
    let range = u32::from_be_bytes(OWNED_RANGE4.octets()) >> (32 - OWNED_RANGE4_BITS);
    is_v4(address) && u32::from_be(address[3]) >> (32 - OWNED_RANGE4_BITS) == range
}
