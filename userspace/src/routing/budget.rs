//! How many attempts may be repetitions: a part of the requests of late, so that an upstream that fails is not asked
//! several times as much as one that does not.

use std::time::{Duration, Instant};

/// Ten slots of a second: what "of late" means.
const SLOTS: usize = 10;
const SLOT: Duration = Duration::from_secs(1);
/// Repetitions among a hundred requests.
const PERCENT: u64 = 20;
/// Repetitions that are always allowed within the slots, or a service that is seldom asked would have none: three in a
/// second.
const FLOOR: u64 = 30;

/// What is left for repetitions towards one service.
#[derive(Clone, Debug)]
pub struct Budget {
    /// When the current slot began.
    began: Instant,
    /// Requests and repetitions by slot, the current one first.
    slots: [(u64, u64); SLOTS],
}

impl Budget {
    /// One of which nothing is spent.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { began: now, slots: [(0, 0); SLOTS] }
    }

    /// Counts a request.
    pub fn request(&mut self, now: Instant) {
        self.advance(now);
        self.slots[0].0 += 1;
    }

    /// Whether a request may be repeated. If so the repetition is counted.
    pub fn repeat(&mut self, now: Instant) -> bool {
        self.advance(now);
        let (requests, repeated) =
            self.slots.iter().fold((0, 0), |(all, again), slot| (all + slot.0, again + slot.1));
        let allowed = (requests * PERCENT / 100).max(FLOOR);
        let within = repeated < allowed;
        self.slots[0].1 += u64::from(within);
        within
    }

    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.began).as_secs();
        let slots = usize::try_from(passed).unwrap_or(SLOTS).min(SLOTS);
        if slots == 0 {
            return;
        }
        self.slots.rotate_right(slots % SLOTS);
        self.slots[..slots].fill((0, 0));
        self.began += SLOT * u32::try_from(passed).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_requests_of_late_may_be_repeated() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        (0..1_000).for_each(|_| budget.request(start));
        let repeated = (0..1_000).filter(|_| budget.repeat(start)).count();
        assert_eq!(repeated, 200);
        let later = start + Duration::from_secs(9);
        assert!(!budget.repeat(later), "ten seconds are of late");
        let forgotten = start + Duration::from_secs(10);
        assert_eq!((0..1_000).filter(|_| budget.repeat(forgotten)).count(), 30);
        assert!(budget.repeat(forgotten + Duration::from_secs(3_600)));
    }

    #[test]
    fn a_few_repetitions_are_always_allowed() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        assert_eq!((0..100).filter(|_| budget.repeat(start)).count(), 30);
    }
}
