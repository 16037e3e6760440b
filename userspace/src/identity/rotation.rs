//! When to renew: at half of the lifetime, and after a failure soon again, but not in a hurry. No clock, no chance: the
//! time and the roll of the dice are arguments.

use std::time::{Duration, SystemTime};

use super::certificate::Validity;

/// How far from the exact time jitter goes: a tenth, so that what was issued together is not renewed together.
const JITTER: f64 = 0.1;
/// How soon after a first failure the next attempt is.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// How long attempts are apart at most.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// How soon a source that had nothing new is asked again, at least and at most.
const RECHECK: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3600));

/// When the certificate in use is to be renewed, and what has happened to attempts to do so.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    validity: Validity,
    /// Half of the lifetime, give or take.
    renewal: SystemTime,
    next: SystemTime,
    /// When that was planned: earlier it gets only if the clock is set back.
    planned: SystemTime,
    failures: u32,
}

impl Schedule {
    /// A certificate was just obtained. `roll` is from -1 to 1.
    pub(super) fn new(validity: Validity, now: SystemTime, roll: f64) -> Self {
        let lifetime = validity.not_after.duration_since(validity.not_before).unwrap_or_default();
        let renewal = validity.not_before + spread(lifetime / 2, roll);
        Self { validity, renewal, next: renewal, planned: now, failures: 0 }.nothing_new(now, roll)
    }

    /// The certificate is still the newest: asked again when renewal is due, and if it was, after a tenth of what is left. One
    /// that is not valid yet is asked about again so too.
    pub(super) fn nothing_new(mut self, now: SystemTime, roll: f64) -> Self {
        let left = self.validity.not_after.duration_since(now).unwrap_or_default();
        let (least, most) = RECHECK;
        let recheck = now + spread((left / 10).clamp(least, most), roll);
        let is_fresh = self.validity.not_before <= now && now < self.renewal;
        self.next = if is_fresh { self.renewal } else { recheck };
        (self.planned, self.failures) = (now, 0);
        self
    }

    /// An attempt failed: twice as long until the next one as until this one, within bounds.
    pub(super) fn failed(mut self, now: SystemTime, roll: f64) -> Self {
        let wait = FIRST_RETRY.saturating_mul(1 << self.failures.min(16)).min(LONGEST_RETRY);
        self.failures += 1;
        (self.planned, self.next) = (now, now + spread(wait, roll));
        self
    }

    /// When the next attempt is due.
    pub(super) const fn next(&self) -> SystemTime {
        self.next
    }

    /// Whether an attempt is due. It is too when the clock was set back to before the certificate is valid: nobody with the
    /// same clock would believe it until then.
    pub(super) fn is_due(&self, now: SystemTime) -> bool {
        now >= self.next || (now < self.planned && now < self.validity.not_before)
    }

    /// Whether renewal is so late that somebody should look: three quarters of the lifetime are over.
    pub(super) fn is_late(&self, now: SystemTime) -> bool {
        let lifetime = self.validity.not_after.duration_since(self.validity.not_before).unwrap_or_default();
        now > self.validity.not_before + lifetime * 3 / 4
    }
}

fn spread(time: Duration, roll: f64) -> Duration {
    time.mul_f64(1.0 + JITTER * roll.clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(hours: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + HOUR * 1000 + HOUR * hours
    }

    fn day() -> Validity {
        Validity { not_before: at(0), not_after: at(24) }
    }

    #[test]
    fn renewal_is_at_half_of_the_lifetime_give_or_take_a_tenth() {
        for (roll, minutes) in [(0.0, 720), (1.0, 792), (-1.0, 648), (7.0, 792)] {
            let next = Schedule::new(day(), at(0), roll).next();
            assert_eq!(next, at(0) + Duration::from_secs(60 * minutes), "{roll}");
        }
    }

    #[test]
    fn one_obtained_late_in_its_life_is_asked_about_again_and_not_at_once() {
        let schedule = Schedule::new(day(), at(14), 0.0);
        assert_eq!(schedule.next(), at(15), "a tenth of the ten hours that are left");
        let schedule = Schedule::new(day(), at(24) - Duration::from_secs(1), 0.0);
        assert_eq!(schedule.next(), at(24) + Duration::from_secs(4), "never in a hurry");
    }

    #[test]
    fn nothing_new_before_half_of_the_lifetime_leaves_the_plan() {
        let schedule = Schedule::new(day(), at(0), 0.0).nothing_new(at(1), 0.0);
        assert_eq!(schedule.next(), at(12));
    }

    #[test]
    fn failures_are_retried_ever_more_slowly_up_to_a_minute() {
        let mut schedule = Schedule::new(day(), at(0), 0.0);
        let mut waits = Vec::new();
        for _ in 0..9 {
            schedule = schedule.failed(at(12), 0.0);
            waits.push(schedule.next().duration_since(at(12)).unwrap().as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        for _ in 0..100 {
            schedule = schedule.failed(at(12), 1.0);
        }
        assert_eq!(schedule.next(), at(12) + Duration::from_secs(66));
        schedule = schedule.nothing_new(at(13), 0.0).failed(at(14), 0.0);
        assert_eq!(schedule.next(), at(14) + FIRST_RETRY, "success starts anew");
    }

    #[test]
    fn a_clock_that_is_set_far_ahead_makes_renewal_due_at_once() {
        let schedule = Schedule::new(day(), at(0), 0.0);
        assert!(!schedule.is_due(at(11)));
        let year = at(24 * 365);
        assert!(schedule.is_due(year) && schedule.is_late(year));
        // What is issued by the new time is good for as long as any other.
        let validity = Validity { not_before: year, not_after: year + 24 * HOUR };
        assert_eq!(Schedule::new(validity, year, 0.0).next(), year + 12 * HOUR);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_renewal_due_once_if_the_certificate_is_not_valid_by_it() {
        let validity = Validity { not_before: at(100), not_after: at(124) };
        let schedule = Schedule::new(validity, at(101), 0.0);
        assert!(!schedule.is_due(at(100)), "an hour less does no harm");
        assert!(schedule.is_due(at(99)) && schedule.is_due(at(0)));
        // A source that has nothing newer, or fails, is not asked all the time because of that.
        let asked = schedule.clone().nothing_new(at(50), 0.0);
        assert!(!asked.is_due(at(50)) && asked.is_due(at(51)));
        let failed = schedule.failed(at(50), 0.0);
        assert!(!failed.is_due(at(50)) && failed.is_due(at(50) + FIRST_RETRY));
        // Back to the right time after it had been set ahead.
        let renewed = Schedule::new(day(), at(1), 0.0);
        assert_eq!(renewed.next(), at(12));
        assert!(!renewed.is_due(at(11)) && !asked.is_due(at(50)));
    }

    #[test]
    fn it_is_late_after_three_quarters() {
        let schedule = Schedule::new(day(), at(0), 0.0);
        assert!(!schedule.is_late(at(18)));
        assert!(schedule.is_late(at(19)));
    }

    #[test]
    fn a_lifetime_that_is_none_does_not_panic() {
        let validity = Validity { not_before: at(1), not_after: at(0) };
        assert!(Schedule::new(validity, at(2), 0.0).next() > at(2));
    }
}
