//! What a workload did so far, in a few numbers: for whoever watches it, who takes the difference of two looks.

use super::Telemetry;
use super::golden::BOUNDS;
use super::metrics::Row;
use crate::model::Verdict;

/// Counts since the workload is served, and what is open now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Connections that the instance accepted, outbound and inbound.
    pub opened: [u64; 2],
    /// Those that are open, outbound and inbound.
    pub open: [u64; 2],
    /// Bytes of those that have ended, from the side that connected.
    pub sent: u64,
    /// Bytes to that side.
    pub received: u64,
    /// Those that did not end by both sides closing.
    pub broken: u64,
    /// What was refused: by the kernel, by the instance, and requests by policy.
    pub denied: u64,
    /// What the kernel let pass untouched.
    pub direct: u64,
    /// Requests that are over.
    pub requests: Requests,
}

/// Requests that are over, and how long they took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// How many.
    pub count: u64,
    /// How many of them were answered with 5xx, or not at all.
    pub failed: u64,
    /// How many of them were refused by policy.
    pub denied: u64,
    /// How many took up to each bound of [`Summary::BOUNDS`], and the rest; not cumulative.
    pub within: [u64; BOUNDS.len() + 1],
}

impl Summary {
    /// Upper bounds of [`Requests::within`], in microseconds.
    pub const BOUNDS: [u64; BOUNDS.len()] = BOUNDS;
}

impl Telemetry {
    /// What the workload did so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = Summary { requests: self.golden.requests(), ..Summary::default() };
        self.metrics.sum_up(&mut summary);
        summary.denied += self.refused.load(std::sync::atomic::Ordering::Relaxed) + summary.requests.denied;
        for row in self.metrics.rows() {
            match row {
                Row::Verdicts { verdict: Verdict::Deny, count, .. } => summary.denied += count,
                Row::Verdicts { verdict: Verdict::Direct, count, .. } => summary.direct += count,
                _ => {}
            }
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::samples::{asked, denied, relayed, unanswered, unreachable};
    use super::super::{Own, Telemetry};
    use super::*;
    use crate::model::{Direction, Flag, Observer, Reason};

    #[test]
    fn everything_that_happened_is_summed_up() {
        let telemetry = Telemetry::new(Own::named("web"), Arc::default()).unwrap();
        for _ in 0..3 {
            telemetry.opened(Direction::Outbound);
        }
        telemetry.ended(relayed());
        telemetry.ended(unreachable());
        telemetry.exchanged(asked());
        telemetry.exchanged(unanswered());
        let mut refused = asked();
        refused.flags.raise(Flag::Denied);
        telemetry.exchanged(refused);
        // The kernel counts what it refuses, and tells of it too: once is enough.
        telemetry.ended(denied());
        telemetry.add_source(Arc::new(|| {
            let row = |verdict, count| Row::Verdicts {
                direction: Direction::Outbound,
                verdict,
                reason: Reason::Rule,
                count,
            };
            vec![row(Verdict::Deny, 1), row(Verdict::Direct, 7)]
        }));
        let summary = telemetry.summary();
        assert_eq!((summary.opened, summary.open), ([3, 0], [1, 0]));
        assert_eq!((summary.sent, summary.received), (78, 1234));
        assert_eq!((summary.broken, summary.denied, summary.direct), (1, 2, 7));
        let requests = summary.requests;
        assert_eq!((requests.count, requests.failed, requests.denied), (3, 1, 1));
        assert_eq!(requests.within.iter().sum::<u64>(), 3);
    }
}
