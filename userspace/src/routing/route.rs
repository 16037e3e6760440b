//! One `HTTPRoute`: whom it is for, its rules, and where they lead.

use std::time::Duration;

use super::filter::scaled;
use super::{Backing, Filters, HostPattern, Match, Retry, ServiceName};

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRoute {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.creationTimestamp` in seconds of Unix time; a resource without one is the oldest.
    pub created: Option<u64>,
    /// The services that it is for.
    pub parents: Vec<Parent>,
    /// The hosts that requests have to ask for; any if there are none.
    pub hostnames: Vec<HostPattern>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// A service that a route is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Which service.
    pub service: ServiceName,
    /// Which of its ports; all of them if absent.
    pub port: Option<u16>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// One of these has to hold; there is always one.
    pub matches: Vec<Match>,
    /// What is changed on the way.
    pub filters: Filters,
    /// Where requests are sent.
    pub backends: Vec<Backend>,
    /// How long they may take.
    pub timeouts: Timeouts,
    /// Whether they are tried again, if the rule says so.
    pub retry: Option<Retry>,
}

/// How long a request may take; no limit where absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From its head to its answer's, with all attempts.
    pub request: Option<Duration>,
    /// One attempt.
    pub backend_request: Option<Duration>,
}

/// A place that requests are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Which.
    pub to: Backing,
    /// How many requests it gets in relation to the other backends.
    pub weight: u32,
    /// What is changed on the way there.
    pub filters: Filters,
}

impl Rule {
    /// The backend for a request with this random number (of all 64-bit numbers); none if none has a weight.
    #[must_use]
    pub fn backend(&self, random: u64) -> Option<&Backend> {
        let total = self.backends.iter().map(|backend| u64::from(backend.weight)).sum();
        let mut left = scaled(random, total);
        self.backends.iter().find(|backend| {
            let weight = u64::from(backend.weight);
            let meant = left < weight;
            left = left.saturating_sub(weight);
            meant
        })
    }
}
