//! How long things take and are kept, and how long is waited between attempts. Fixed for the product; tests are in a hurry.

use std::time::{Duration, Instant};

/// How long things take and are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Seconds after which a watch is asked to end, and after which (and five more) one that says nothing is given up.
    pub(super) watch: u32,
    /// How long is waited after a first failure, and between attempts at most.
    pub(super) retry: (Duration, Duration),
    /// How often is looked for a kind of resource that the server did not know.
    pub(super) unknown_kind: Duration,
    /// How long one answer may take.
    pub(super) answer: Duration,
    /// For how long an address that nothing has is not asked for again.
    pub(super) nobody: Duration,
}

impl Pace {
    /// The product's.
    pub(super) const STEADY: Self = Self {
        watch: 240,
        retry: (Duration::from_millis(200), Duration::from_secs(20)),
        unknown_kind: Duration::from_secs(60),
        answer: Duration::from_secs(5),
        nobody: Duration::from_secs(5),
    };

    /// The watch's length, spread so that what began together does not end together.
    pub(super) fn watch_seconds(&self) -> u32 {
        self.watch - fastrand::u32(..=self.watch / 5)
    }
}

/// Ever longer waits between attempts that fail, each with jitter.
#[derive(Debug)]
pub(super) struct Retry {
    bounds: (Duration, Duration),
    failures: u32,
    last: Option<Instant>,
}

impl Retry {
    /// None has failed yet.
    pub(super) const fn new(pace: &Pace) -> Self {
        Self { bounds: pace.retry, failures: 0, last: None }
    }

    /// An attempt succeeded.
    pub(super) const fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// An attempt failed: how long to wait until the next, from half of it to all of it.
    pub(super) fn failed(&mut self) -> Duration {
        let (first, longest) = self.bounds;
        // What has gone well for so long is no longer the same trouble.
        if self.last.replace(Instant::now()).is_some_and(|last| last.elapsed() > longest * 2) {
            self.failures = 0;
        }
        let wait = first.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures += 1;
        wait.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_within_bounds_and_begin_anew_after_a_success() {
        let mut retry = Retry::new(&Pace::STEADY);
        let (first, longest) = Pace::STEADY.retry;
        assert!((first / 2..=first).contains(&retry.failed()));
        let last = (0..40).map(|_| retry.failed()).last().unwrap();
        assert!((longest / 2..=longest).contains(&last));
        retry.succeeded();
        assert!(retry.failed() <= first);
    }
}
