//! How many lines about denials pass per second: a pod that dials a denied address in a loop must not fill a disk.
//!
//! A token bucket that knows no clock: the time is handed in.

use std::time::{Duration, Instant};

/// Lets so many things pass per second and as many at once.
#[derive(Debug)]
pub(super) struct Allowance {
    per_second: u32,
    /// What is left, in nanoseconds' worth: one thing costs a second divided by `per_second`.
    credit: Duration,
    last: Instant,
}

impl Allowance {
    /// A full allowance.
    pub(super) const fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second, credit: Duration::from_secs(1), last: now }
    }

    /// Whether one more may pass at `now`.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        self.credit = (self.credit + now.saturating_duration_since(self.last)).min(Duration::from_secs(1));
        self.last = now;
        let cost = Duration::from_secs(1) / self.per_second.max(1);
        let admitted = self.credit >= cost;
        if admitted {
            self.credit -= cost;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_up_to_the_limit_and_the_rest_at_its_rate() {
        let start = Instant::now();
        let mut allowance = Allowance::new(100, start);
        let at = |allowance: &mut Allowance, millis| {
            let now = start + Duration::from_millis(millis);
            (0..1000).filter(|_| allowance.admit(now)).count()
        };
        assert_eq!(at(&mut allowance, 0), 100);
        assert_eq!(at(&mut allowance, 10), 1);
        assert_eq!(at(&mut allowance, 510), 50);
        assert_eq!(at(&mut allowance, 60_000), 100, "credit is saved for one second only");
    }
}
