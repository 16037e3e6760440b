//! How many requests a time allows: token buckets, one for each of those who share a limit.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::ServiceName;

/// So many requests in a time, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many requests…
    pub requests: u32,
    /// …in this time, which is not zero.
    pub per: Duration,
    /// How many at once after a pause; at least 1.
    pub burst: u32,
}

/// Which requests a limit is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Those of the workload to a service.
    Service(ServiceName),
    /// Those of the workload that meet a rule: of a route, `namespace/name`, or this one, `namespace/name/rule`.
    Route(String),
    /// Those to the workload, at one of its ports or at any.
    Inbound(Option<u16>),
}

impl Limited {
    /// Whether a rule of this label ([`super::Chosen::label`]) is meant.
    #[must_use]
    pub fn names(&self, label: &str) -> bool {
        match self {
            Self::Route(route) => label
                .strip_prefix(route.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Service(_) | Self::Inbound(_) => false,
        }
    }
}

/// Who shares a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SharedBy {
    /// Everybody.
    #[default]
    All,
    /// Everybody who has the same identity; all of those without one together.
    SourceIdentity,
}

/// A limit on how many requests a time allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Of which requests.
    pub of: Limited,
    /// Who shares it.
    pub by: SharedBy,
    /// How many.
    pub rate: Rate,
}

/// A bucket that fills up evenly; a request takes one token out of it.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// Fills up for the time that has passed.
    fn fill(&mut self, rate: &Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        let filled = passed * f64::from(rate.requests) / rate.per.as_secs_f64();
        self.tokens = (self.tokens + filled).min(f64::from(rate.burst));
        self.at = self.at.max(now);
    }
}

/// The buckets of one limit. However many there are to share it, at most `room` have a bucket of their own; when no
/// bucket is free, the others take from one together.
#[derive(Clone, Debug)]
pub struct Buckets<K> {
    own: HashMap<K, Bucket>,
    shared: Option<Bucket>,
    room: usize,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    /// No buckets yet.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self { own: HashMap::new(), shared: None, room }
    }

    /// Takes a token for one request of `key`.
    ///
    /// # Errors
    /// There is none: how long until there is one.
    pub fn take(&mut self, key: &K, rate: &Rate, now: Instant) -> Result<(), Duration> {
        let full = Bucket { tokens: f64::from(rate.burst), at: now };
        if !self.own.contains_key(key) && self.own.len() >= self.room {
            // A bucket that is full again is worth as much as none.
            self.own.retain(|_, bucket| {
                bucket.fill(rate, now);
                bucket.tokens < f64::from(rate.burst)
            });
        }
        let bucket = if self.own.contains_key(key) || self.own.len() < self.room {
            self.own.entry(key.clone()).or_insert(full)
        } else {
            self.shared.get_or_insert(full)
        };
        bucket.fill(rate, now);
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        let missing = (1.0 - bucket.tokens) * rate.per.as_secs_f64() / f64::from(rate.requests);
        Err(Duration::from_secs_f64(missing))
    }

    /// How many have a bucket of their own.
    #[must_use]
    pub fn len(&self) -> usize {
        self.own.len()
    }

    /// Whether nobody has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.own.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { requests: 10, per: Duration::from_secs(1), burst: 5 };

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (start, mut buckets) = (Instant::now(), Buckets::new(4));
        assert_eq!((0..100).filter(|_| buckets.take(&"a", &RATE, start).is_ok()).count(), 5);
        assert_eq!(buckets.take(&"a", &RATE, start), Err(Duration::from_millis(100)));
        let passed = (1..=1_000_u64)
            .filter(|at| buckets.take(&"a", &RATE, start + Duration::from_millis(at * 10)).is_ok())
            .count();
        assert!((99..=101).contains(&passed), "{passed} in ten seconds");
    }

    #[test]
    fn everybody_has_a_bucket_until_there_are_too_many() {
        let (start, mut buckets) = (Instant::now(), Buckets::new(4));
        for key in 0..4 {
            assert!((0..5).all(|_| buckets.take(&key, &RATE, start).is_ok()), "{key}");
        }
        // A thousand more share one.
        assert_eq!((4..1_004).filter(|key| buckets.take(key, &RATE, start).is_ok()).count(), 5);
        assert_eq!(buckets.len(), 4);
        // Once the first ones are full again, there is room.
        let later = start + Duration::from_secs(1);
        assert!((0..5).all(|_| buckets.take(&7, &RATE, later).is_ok()));
        assert!((0..5).all(|_| buckets.take(&8, &RATE, later).is_ok()));
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_gives_nothing() {
        let (start, mut buckets) = (Instant::now() + Duration::from_secs(9), Buckets::new(4));
        assert_eq!((0..9).filter(|_| buckets.take(&0, &RATE, start).is_ok()).count(), 5);
        assert!(buckets.take(&0, &RATE, start - Duration::from_secs(5)).is_err());
        assert!(buckets.take(&0, &RATE, start).is_err());
    }
}
