//! Spans of ports, and how overlapping spans become disjoint ranges.
//!
//! Knows nothing of addresses.

mod set;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::str::FromStr;

use sidestep_abi::verdict::{Reason, Verdict};
use thiserror::Error;

pub(super) use set::PortSet;

/// Ports from `first` to `last`, both included, `first` ≤ `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortSpan {
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

impl PortSpan {
    /// Every port.
    pub const ALL: Self = Self { first: 0, last: u16::MAX };

    /// One port.
    #[must_use]
    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Whether `port` is in the span.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// How many ports beyond the first.
    pub(super) const fn width(self) -> u16 {
        self.last.saturating_sub(self.first)
    }
}

impl fmt::Display for PortSpan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(formatter, "{}", self.first)
        } else {
            write!(formatter, "{}-{}", self.first, self.last)
        }
    }
}

/// Why a text is not a span of ports.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PortSpanError {
    /// It is no number from 0 to 65535, nor two with a dash between them.
    #[error("expected a port (0-65535) or a range such as 8000-8100, found {0:?}")]
    NotPorts(String),
    /// The range ends before it begins.
    #[error("expected a port range that goes up, found {first}-{last}; write {last}-{first}")]
    Inverted {
        /// What stands in front of the dash.
        first: u16,
        /// What stands behind it.
        last: u16,
    },
}

impl FromStr for PortSpan {
    type Err = PortSpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = |part: &str| {
            // `u16::from_str` would take a plus sign, too.
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let number = if digits { part.parse().ok() } else { None };
            number.ok_or_else(|| PortSpanError::NotPorts(text.to_owned()))
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port(first)?, port(last)?);
        if first > last { Err(PortSpanError::Inverted { first, last }) } else { Ok(Self { first, last }) }
    }
}

/// A range of ports and what happens to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortDecision {
    /// The ports.
    pub ports: PortSpan,
    /// What happens to connections to them.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
}

/// A verdict for a span, and which rule says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) ports: PortSpan,
    pub(super) verdict: Verdict,
    /// Index of the rule.
    pub(super) rule: usize,
}

/// Two claims of one width that overlap and disagree, lower rule number first.
///
/// `claims` must be sorted by width and then by first port. Looking at neighbours is enough: spans of one width that
/// are sorted by their beginning are sorted by their end, so that all claims between two overlapping ones
/// overlap both, and somewhere between two that disagree there are neighbours that disagree.
pub(super) fn contradiction(claims: &[Claim]) -> Option<[usize; 2]> {
    claims.array_windows().find_map(|[a, b]| {
        let overlap = a.ports.width() == b.ports.width() && b.ports.first <= a.ports.last;
        (overlap && a.verdict != b.verdict).then(|| [a.rule.min(b.rule), a.rule.max(b.rule)])
    })
}

/// Lays `claims` over `ground`: where several cover a port the narrowest wins, where none does the ground shows.
///
/// `ground` must be sorted, disjoint and cover all ports; so is the result, with equal neighbours merged.
pub(super) fn overlay(claims: &mut [Claim], ground: &[PortDecision]) -> Vec<PortDecision> {
    claims.sort_unstable_by_key(|claim| (claim.ports.first, claim.ports.width()));
    // Where the answer may change: u32, because one of them is the port behind the last one.
    let mut edges: Vec<u32> = ground.iter().map(|range| u32::from(range.ports.first)).collect();
    edges.extend(
        claims.iter().flat_map(|claim| [u32::from(claim.ports.first), u32::from(claim.ports.last) + 1]),
    );
    edges.push(u32::from(u16::MAX) + 1);
    edges.sort_unstable();
    edges.dedup();

    let mut ranges: Vec<PortDecision> = Vec::new();
    let mut coming = claims.iter().enumerate().peekable();
    // The claims that have begun, narrowest on top; those that have ended leave when they get there.
    let mut begun: BinaryHeap<Reverse<(u16, usize)>> = BinaryHeap::new();
    let mut ground = ground.iter().peekable();
    for &[from, to] in edges.array_windows() {
        let (Ok(first), Ok(last)) = (u16::try_from(from), u16::try_from(to - 1)) else { break };
        while let Some((index, claim)) = coming.next_if(|(_, claim)| claim.ports.first <= first) {
            begun.push(Reverse((claim.ports.width(), index)));
        }
        while begun.peek().is_some_and(|Reverse((_, index))| claims[*index].ports.last < first) {
            begun.pop();
        }
        while ground.next_if(|range| range.ports.last < first).is_some() {}
        let claimed = begun.peek().map(|Reverse((_, index))| (claims[*index].verdict, Reason::Rule));
        let shown = claimed.or_else(|| ground.peek().map(|range| (range.verdict, range.reason)));
        let Some((verdict, reason)) = shown else { break };
        match ranges.last_mut() {
            Some(range) if (range.verdict, range.reason) == (verdict, reason) => range.ports.last = last,
            _ => ranges.push(PortDecision { ports: PortSpan { first, last }, verdict, reason }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written_alike() {
        for text in ["0", "80", "8000-8100", "0-65535"] {
            assert_eq!(text.parse::<PortSpan>().expect("a span").to_string(), text);
        }
        assert_eq!("80-80".parse(), Ok(PortSpan::one(80)));
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in ["", "-", "80-", "-80", "65536", "+80", " 80", "80 - 90", "http", "1-2-3"] {
            assert_eq!(text.parse::<PortSpan>(), Err(PortSpanError::NotPorts(text.to_owned())), "{text:?}");
        }
        assert_eq!("90-80".parse::<PortSpan>(), Err(PortSpanError::Inverted { first: 90, last: 80 }));
    }

    #[test]
    fn neighbours_of_equal_verdict_merge() {
        let ground =
            [PortDecision { ports: PortSpan::ALL, verdict: Verdict::Proxy, reason: Reason::Default }];
        let claim = |first, last| Claim { ports: PortSpan { first, last }, verdict: Verdict::Deny, rule: 0 };
        let ranges = overlay(&mut [claim(80, 80), claim(81, 90), claim(0, 79)], &ground);
        let spans: Vec<_> = ranges.iter().map(|range| range.ports.to_string()).collect();
        assert_eq!(spans, ["0-90", "91-65535"]);
    }
}
