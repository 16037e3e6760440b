//! Endpoints that keep failing are left out for a while: longer each time, and never too many of them.
//!
//! As Istio's `outlierDetection` has it, with two differences: an endpoint returns when its time is over and not at the
//! next interval, and of several endpoints one may always be left out, however small the percentage.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// When an endpoint is left out, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierPolicy {
    /// After so many answers of 500 to 599, or failures without an answer, in a row; never if 0.
    pub consecutive_5xx: u32,
    /// After so many of 502, 503 and 504, or failures without an answer, in a row; never if 0.
    pub consecutive_gateway_errors: u32,
    /// How long an endpoint has to be well until one of its ejections is forgotten.
    pub interval: Duration,
    /// How long it is left out the first time; so many times as long as it was left out by then.
    pub base_ejection: Duration,
    /// How many of a service's endpoints may be left out, of a hundred.
    pub max_percent: u32,
}

/// No ejection is longer, unless the first one is already.
const LONGEST_EJECTION: Duration = Duration::from_secs(300);

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer below 500.
    Good,
    /// An answer of 500 to 599 that the upstream gave itself.
    ServerError,
    /// 502, 503 or 504, or no answer: nobody was there, or nobody in time.
    GatewayError,
}

impl Outcome {
    /// What an answer means.
    #[must_use]
    pub fn of(status: http::StatusCode) -> Self {
        match status.as_u16() {
            502..=504 => Self::GatewayError,
            500..=599 => Self::ServerError,
            _ => Self::Good,
        }
    }
}

/// How one endpoint does.
#[derive(Clone, Copy, Debug)]
struct Health {
    errors: u32,
    gateway_errors: u32,
    ejections: u32,
    /// When it may be asked again, if it was ever left out.
    until: Option<Instant>,
    /// Since when ejections are forgotten.
    well_since: Instant,
}

/// How the endpoints of one service do.
#[derive(Clone, Debug)]
pub struct Outliers<K>(HashMap<K, Health>);

impl<K> Default for Outliers<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Copy> Outliers<K> {
    /// Whether an endpoint is left out now.
    #[must_use]
    pub fn ejects(&self, endpoint: &K, now: Instant) -> bool {
        self.0.get(endpoint).and_then(|health| health.until).is_some_and(|until| now < until)
    }

    /// How many endpoints are left out now.
    #[must_use]
    pub fn ejected(&self, now: Instant) -> usize {
        self.0.keys().filter(|endpoint| self.ejects(endpoint, now)).count()
    }

    /// Tells what came of an attempt at one of `endpoints` endpoints; says whether it is left out from now on.
    pub fn record(
        &mut self,
        endpoint: K,
        outcome: Outcome,
        endpoints: usize,
        policy: &OutlierPolicy,
        now: Instant,
    ) -> bool {
        if self.0.len() > endpoints.saturating_mul(2).max(64) {
            // Endpoints come and go; those that have been well for long are forgotten.
            self.0.retain(|_, health| health.until.is_some_and(|until| now < until + LONGEST_EJECTION));
        }
        if outcome == Outcome::Good && !self.0.contains_key(&endpoint) {
            return false;
        }
        let health = self.0.entry(endpoint).or_insert(Health {
            errors: 0,
            gateway_errors: 0,
            ejections: 0,
            until: None,
            well_since: now,
        });
        match outcome {
            Outcome::Good => {
                (health.errors, health.gateway_errors) = (0, 0);
                let well = now.saturating_duration_since(health.well_since);
                if health.ejections > 0 && well >= policy.interval {
                    health.ejections -= 1;
                    health.well_since = now;
                }
                if health.ejections == 0 && health.until.is_none_or(|until| until <= now) {
                    self.0.remove(&endpoint);
                }
                return false;
            }
            Outcome::ServerError => {
                health.errors = health.errors.saturating_add(1);
                health.gateway_errors = 0;
            }
            Outcome::GatewayError => {
                health.errors = health.errors.saturating_add(1);
                health.gateway_errors = health.gateway_errors.saturating_add(1);
            }
        }
        health.well_since = now;
        let over = |limit: u32, count: u32| limit > 0 && count >= limit;
        let failing = over(policy.consecutive_5xx, health.errors)
            || over(policy.consecutive_gateway_errors, health.gateway_errors);
        if !failing || self.ejects(&endpoint, now) || !self.may_eject(endpoints, policy, now) {
            return false;
        }
        let Some(health) = self.0.get_mut(&endpoint) else { return false };
        (health.errors, health.gateway_errors) = (0, 0);
        health.ejections = health.ejections.saturating_add(1);
        let time = policy.base_ejection.saturating_mul(health.ejections);
        let until = now + time.min(LONGEST_EJECTION.max(policy.base_ejection));
        health.until = Some(until);
        health.well_since = until;
        true
    }

    fn may_eject(&self, endpoints: usize, policy: &OutlierPolicy, now: Instant) -> bool {
        let percent = usize::try_from(policy.max_percent).unwrap_or(100).min(100);
        let least = usize::from(endpoints > 1 && percent > 0);
        let allowed = (endpoints * percent / 100).max(least);
        self.ejected(now) < allowed
    }
}
