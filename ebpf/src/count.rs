//! Counts every verdict with its reason, and tells userspace of the refusals.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use sidestep_abi::address::Endpoint;
use sidestep_abi::event::Denial;
use sidestep_abi::verdict::{Direction, Reason, Tally, Verdict, verdict_counter};

use crate::kernel::{IPPROTO_MPTCP, IPPROTO_TCP};
use crate::maps::{COUNTERS, DENIALS};

/// Adds one to a counter slot of this CPU.
#[inline(always)]
fn add(slot: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(slot) {
        // SAFETY: a slot of this CPU, which no other program instance writes while this one runs on it; a
        // program that interrupts it on the same CPU can at worst lose one count.
        unsafe { *counter += 1 };
    }
}

/// Counts a verdict.
#[inline(always)]
pub(crate) fn verdict(direction: Direction, verdict: Verdict, reason: Reason) {
    add(verdict_counter(direction, verdict, reason));
}

/// Counts something beside the verdicts.
#[inline(always)]
pub(crate) fn tally(what: Tally) {
    add(what as u32);
}

/// Nobody: who called is known only of inbound connections.
const NOBODY: Endpoint = Endpoint::new([0; 4], 0);

/// Nowhere: a socket that was not to be had no destination yet.
pub(crate) const NOWHERE: Endpoint = Endpoint::new([0; 4], 0);

/// Counts what was refused to the workload, and reports it.
#[inline(always)]
pub(crate) fn denial(protocol: u32, destination: Endpoint, reason: Reason, errno: u8) {
    verdict(Direction::Outbound, Verdict::Deny, reason);
    report(Denial {
        pid: (bpf_get_current_pid_tgid() >> 32) as u32,
        destination,
        client: NOBODY,
        reason: reason as u8,
        errno,
        direction: Direction::Outbound as u8,
        protocol: if protocol == IPPROTO_MPTCP { IPPROTO_TCP } else { protocol } as u8,
    });
}

/// Counts a refused inbound connection and reports it.
#[inline(always)]
pub(crate) fn inbound_denial(client: Endpoint, destination: Endpoint, reason: Reason) {
    verdict(Direction::Inbound, Verdict::Deny, reason);
    report(Denial {
        pid: 0,
        destination,
        client,
        reason: reason as u8,
        errno: 0,
        direction: Direction::Inbound as u8,
        protocol: IPPROTO_TCP as u8,
    });
}

#[inline(always)]
fn report(event: Denial) {
    if DENIALS.output(event, 0).is_err() {
        tally(Tally::EventsLost);
    }
}
