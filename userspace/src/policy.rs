//! Which verdict a destination gets, and the flattened form that the kernel's tables hold; and whether plain text may
//! come in ([`MutualTls`]).
//!
//! Pure: no clock, no files, no tokio, no aya. [`Rules::decide`] is the specification, written to be read;
//! [`Rules::compile`] is what is used, and is tested against it. What passes whatever the rules say (loopback,
//! the workload's own addresses, IPv6 link-local) is the capture's business and not known here.
//!
//! # Which rule wins
//!
//! Of all rules that match destination *and* port, the one with the longest prefix; on one prefix, the one with the
//! narrower port span. A rule that does not cover the port lets the decision fall through to shorter prefixes and
//! at last to the default. Two rules that this order cannot tell apart must agree, or they are an error.
//!
//! IPv4 and IPv6 are apart: `::/0` says nothing about IPv4. An IPv4-mapped IPv6 destination is an IPv4 destination.

mod authorization;
mod compile;
mod denial;
mod mutual_tls;
mod peer_authentication;
mod ports;
mod probe;
mod subject;
mod target;

use std::net::{IpAddr, SocketAddr};

use sidestep_abi::verdict::{Reason, Verdict};
use thiserror::Error;

pub use crate::model::{Decided, RuleName, Ruling};
pub use authorization::{
    Action, Asked, Authorization, AuthorizationPolicy, AuthorizationRule, Call, Condition, Content, Match,
    Operation, PathPattern, Pattern, PlainTextDenials, Prospect, Source, TemplateError, TemplatePart,
};
pub use compile::{Compiled, CompiledPrefix, Decision};
pub use denial::DenyWith;
pub use mutual_tls::{MutualTls, MutualTlsMode, PlainText};
pub use peer_authentication::PeerAuthentication;
pub use ports::{PortDecision, PortSpan, PortSpanError};
pub use probe::{Passes, Permit, Probe, Probed};
pub use subject::Subject;
pub use target::{Target, TargetError};

use ipnet::IpNet;

/// What a configuration says about destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// For destinations that no rule matches.
    pub default: Verdict,
    /// In the order they were written, which has no meaning except in error messages.
    pub list: Vec<Rule>,
}

/// One verdict for one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What happens to connections that the target matches.
    pub verdict: Verdict,
    /// Which connections these are.
    pub target: Target,
}

/// Why a set of rules cannot be used.
///
/// Rule numbers are indices into [`Rules::list`], so that a caller can say where each rule was written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// Two rules match the same connections, neither is more specific, and their verdicts differ.
    #[error(
        "rules contradict each other: `{} {}` and `{} {}` match the same connections and neither is more specific; \
         remove one or narrow its prefix or ports",
        rules[0].verdict.word(), rules[0].target, rules[1].verdict.word(), rules[1].target
    )]
    Conflict {
        /// Which two rules, the one written first in front.
        at: [usize; 2],
        /// The rules themselves.
        rules: [Rule; 2],
    },
    /// The kernel's table of port ranges has a fixed size per prefix.
    #[error(
        "too many port ranges for {net}: expected at most {limit}, found {count} after merging neighbours and what \
         shorter prefixes leave to it; join ranges or give the whole prefix one verdict"
    )]
    TooManyPortRanges {
        /// The prefix.
        net: IpNet,
        /// Ranges that it needs.
        count: usize,
        /// Ranges that it can have.
        limit: usize,
        /// The first rule written for this prefix.
        at: usize,
    },
    /// The kernel's prefix table is full.
    #[error("too many prefixes in the rules: expected at most {limit}, found {count}; aggregate them")]
    TooManyPrefixes {
        /// Distinct prefixes.
        count: usize,
        /// Prefixes that the kernel's table holds.
        limit: usize,
    },
    /// The kernel's port tables are full.
    #[error(
        "too many distinct sets of port ranges in the rules: expected at most {limit}, found {count}; unify them"
    )]
    TooManyPortTables {
        /// Distinct sets of port ranges.
        count: usize,
        /// Sets that the kernel's table holds.
        limit: usize,
    },
}

impl Rules {
    /// Rules that give every destination one verdict.
    #[must_use]
    pub const fn only(default: Verdict) -> Self {
        Self { default, list: Vec::new() }
    }

    /// The verdict for a destination, found the slow and obvious way: the specification of [`Self::compile`].
    ///
    /// Of rules that [`Self::compile`] refuses as contradicting, the one written first wins.
    #[must_use]
    pub fn decide(&self, destination: SocketAddr) -> (Verdict, Reason) {
        let ip = destination.ip().to_canonical();
        let mut best: Option<(&Rule, Target)> = None;
        for rule in &self.list {
            let target = rule.target.canonical();
            let wins = || best.is_none_or(|(_, reigning)| target.is_more_specific_than(reigning));
            if target.matches(ip, destination.port()) && wins() {
                best = Some((rule, target));
            }
        }
        best.map_or((self.default, Reason::Default), |(rule, _)| (rule.verdict, Reason::Rule))
    }

    /// Flattens the rules so that one longest-prefix lookup finds the verdict.
    ///
    /// Takes O(n log n) time.
    ///
    /// # Errors
    ///
    /// Rules that contradict each other, or more of them than the kernel's tables hold.
    pub fn compile(&self) -> Result<Compiled, PolicyError> {
        compile::compile(self)
    }
}

impl Target {
    /// Whether a connection to `ip` (canonical: never IPv4-mapped) and `port` is meant.
    fn matches(self, ip: IpAddr, port: u16) -> bool {
        self.net.contains(&ip) && self.ports.contains(port)
    }

    /// Whether this target's rule wins over that of `other`, where both match.
    fn is_more_specific_than(self, other: Self) -> bool {
        let rank = |target: Self| (target.net.prefix_len(), std::cmp::Reverse(target.ports.width()));
        rank(self) > rank(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(default: Verdict, list: &[(Verdict, &str)]) -> Rules {
        let rule =
            |&(verdict, text): &(Verdict, &str)| Rule { verdict, target: text.parse().expect("a target") };
        Rules { default, list: list.iter().map(rule).collect() }
    }

    fn check(rules: &Rules, destination: &str, verdict: Verdict, reason: Reason) {
        let destination: SocketAddr = destination.parse().expect("an address");
        assert_eq!(rules.decide(destination), (verdict, reason), "{destination}");
    }

    #[test]
    fn the_longest_prefix_wins_wherever_it_is_written() {
        for reversed in [false, true] {
            let mut rules = rules(
                Verdict::Proxy,
                &[
                    (Verdict::Deny, "10.0.0.0/8"),
                    (Verdict::Direct, "10.1.0.0/16"),
                    (Verdict::Proxy, "10.1.2.3"),
                ],
            );
            if reversed {
                rules.list.reverse();
            }
            check(&rules, "10.9.9.9:80", Verdict::Deny, Reason::Rule);
            check(&rules, "10.1.9.9:80", Verdict::Direct, Reason::Rule);
            check(&rules, "10.1.2.3:80", Verdict::Proxy, Reason::Rule);
            check(&rules, "11.0.0.1:80", Verdict::Proxy, Reason::Default);
        }
    }

    #[test]
    fn on_one_prefix_the_narrower_port_span_wins() {
        let rules = rules(
            Verdict::Proxy,
            &[
                (Verdict::Deny, "10.0.0.0/8"),
                (Verdict::Direct, "10.0.0.0/8:80-90"),
                (Verdict::Proxy, "10.0.0.0/8:85"),
            ],
        );
        check(&rules, "10.0.0.1:79", Verdict::Deny, Reason::Rule);
        check(&rules, "10.0.0.1:80", Verdict::Direct, Reason::Rule);
        check(&rules, "10.0.0.1:85", Verdict::Proxy, Reason::Rule);
        check(&rules, "10.0.0.1:91", Verdict::Deny, Reason::Rule);
    }

    #[test]
    fn a_rule_that_does_not_cover_the_port_falls_through_to_shorter_prefixes() {
        let rules =
            rules(Verdict::Proxy, &[(Verdict::Deny, "10.0.0.0/8:5432"), (Verdict::Direct, "10.1.0.0/16:80")]);
        check(&rules, "10.1.0.1:80", Verdict::Direct, Reason::Rule);
        check(&rules, "10.1.0.1:5432", Verdict::Deny, Reason::Rule);
        check(&rules, "10.1.0.1:81", Verdict::Proxy, Reason::Default);
    }

    #[test]
    fn a_mapped_destination_is_an_ipv4_destination_and_never_an_ipv6_one() {
        let rules = rules(Verdict::Proxy, &[(Verdict::Deny, "10.0.0.0/8"), (Verdict::Direct, "::/0")]);
        check(&rules, "[::ffff:10.0.0.1]:80", Verdict::Deny, Reason::Rule);
        check(&rules, "[::ffff:11.0.0.1]:80", Verdict::Proxy, Reason::Default);
        check(&rules, "[2001:db8::1]:80", Verdict::Direct, Reason::Rule);
    }
}
