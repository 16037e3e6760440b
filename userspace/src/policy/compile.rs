//! Rules flattened so that one longest-prefix lookup decides.
//!
//! A prefix that says something about some ports only must also know what shorter prefixes say about the others,
//! because the kernel's trie returns one entry. Sorted by network address and then by length, a prefix comes
//! directly after those that contain it: a stack of ancestors is all the state that one pass needs.

mod lookup;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use sidestep_abi::maps::{PORT_TABLES_CAPACITY, RULES_CAPACITY};
use sidestep_abi::rules::PORT_RANGES;
use sidestep_abi::verdict::{Reason, Verdict};

use super::ports::{self, Claim};
use super::{PolicyError, PortDecision, PortSpan, Rules};

/// Flattened rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// For destinations that no prefix contains.
    pub default: Verdict,
    /// Distinct prefixes without host bits, sorted by family (IPv4 first), network address and length.
    ///
    /// Where an IPv6 prefix contains the range of IPv4-mapped addresses there is an entry for `0.0.0.0/0` too, so
    /// that one trie can hold both families (IPv4 in mapped form) without the one answering for the other.
    pub prefixes: Vec<CompiledPrefix>,
}

/// What holds for destinations of which this is the longest prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledPrefix {
    /// The prefix.
    pub net: IpNet,
    /// What happens to connections to it.
    pub decision: Decision,
}

/// What holds for one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// One verdict whatever the port.
    AllPorts(Verdict, Reason),
    /// Disjoint and sorted ranges that cover all ports: at least two and at most [`PORT_RANGES`].
    ByPort(Vec<PortDecision>),
}

impl Compiled {
    /// Whether anything is denied.
    #[must_use]
    pub fn denies(&self) -> bool {
        let denied = |decision: &Decision| match decision {
            Decision::AllPorts(verdict, _) => *verdict == Verdict::Deny,
            Decision::ByPort(ranges) => ranges.iter().any(|range| range.verdict == Verdict::Deny),
        };
        self.default == Verdict::Deny || self.prefixes.iter().any(|prefix| denied(&prefix.decision))
    }

    /// Adds `0.0.0.0/0` with the default, if it is not there and an IPv6 prefix contains the IPv4-mapped range.
    pub(super) fn shield_ipv4(&mut self) {
        let mapped = IpNet::from(IpAddr::V6(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()));
        let shadowed = self.prefixes.iter().any(|prefix| prefix.net.contains(&mapped));
        let everything = IpNet::V4(Ipv4Net::default());
        if shadowed && self.prefixes.first().is_none_or(|prefix| prefix.net != everything) {
            let decision = Decision::AllPorts(self.default, Reason::Default);
            self.prefixes.insert(0, CompiledPrefix { net: everything, decision });
        }
    }
}

impl Decision {
    /// The same thing as ranges.
    fn ranges(&self) -> Vec<PortDecision> {
        match self {
            Self::AllPorts(verdict, reason) => {
                vec![PortDecision { ports: PortSpan::ALL, verdict: *verdict, reason: *reason }]
            }
            Self::ByPort(ranges) => ranges.clone(),
        }
    }
}

/// A rule's claim and the prefix that it is about.
type Entry = (IpNet, Claim);

/// See [`Rules::compile`].
pub(super) fn compile(rules: &Rules) -> Result<Compiled, PolicyError> {
    let mut entries: Vec<Entry> = rules.list.iter().enumerate().map(entry).collect();
    // Within one prefix in the order that `ports::contradiction` wants.
    entries.sort_by_key(|(net, claim)| (position(net), claim.ports.width(), claim.ports.first));

    let whole = Decision::AllPorts(rules.default, Reason::Default);
    let mut prefixes: Vec<CompiledPrefix> = Vec::new();
    // Indices into `prefixes`: those that contain the one at hand, the longest last.
    let mut ancestors: Vec<usize> = Vec::new();
    for group in entries.chunk_by_mut(|(a, _), (b, _)| a == b) {
        let net = group[0].0;
        while ancestors.pop_if(|&mut index| !prefixes[index].net.contains(&net)).is_some() {}
        let ground = ancestors.last().map_or(&whole, |&index| &prefixes[index].decision);
        let decision = decide_prefix(rules, group, ground)?;
        ancestors.push(prefixes.len());
        prefixes.push(CompiledPrefix { net, decision });
    }
    let mut compiled = Compiled { default: rules.default, prefixes };
    compiled.shield_ipv4();
    check_capacity(&compiled.prefixes)?;
    Ok(compiled)
}

/// What a rule claims.
fn entry((rule, said): (usize, &super::Rule)) -> Entry {
    let target = said.target.canonical();
    (target.net, Claim { ports: target.ports, verdict: said.verdict, rule })
}

/// Where a prefix stands in the order that puts prefixes directly behind those that contain them.
pub(super) fn position(net: &IpNet) -> (bool, u128, u8) {
    match net {
        IpNet::V4(net) => (false, u128::from(net.addr().to_bits()), net.prefix_len()),
        IpNet::V6(net) => (true, net.addr().to_bits(), net.prefix_len()),
    }
}

/// What holds for one prefix: what its rules say, and for the ports they leave out what holds around it.
fn decide_prefix(rules: &Rules, group: &[Entry], ground: &Decision) -> Result<Decision, PolicyError> {
    let (net, first) = (group[0].0, group[0].1);
    let mut claims: Vec<Claim> = group.iter().map(|(_, claim)| *claim).collect();
    if let Some(at) = ports::contradiction(&claims) {
        return Err(PolicyError::Conflict { at, rules: at.map(|index| rules.list[index]) });
    }
    if let [Claim { ports: PortSpan::ALL, verdict, .. }] = claims[..] {
        return Ok(Decision::AllPorts(verdict, Reason::Rule));
    }
    let ranges = ports::overlay(&mut claims, &ground.ranges());
    match ranges[..] {
        [PortDecision { verdict, reason, .. }] => Ok(Decision::AllPorts(verdict, reason)),
        _ if ranges.len() > PORT_RANGES => {
            let at = claims.iter().map(|claim| claim.rule).min().unwrap_or(first.rule);
            Err(PolicyError::TooManyPortRanges { net, count: ranges.len(), limit: PORT_RANGES, at })
        }
        _ => Ok(Decision::ByPort(ranges)),
    }
}

/// Refuses what the kernel's tables cannot hold.
fn check_capacity(prefixes: &[CompiledPrefix]) -> Result<(), PolicyError> {
    if prefixes.len() > RULES_CAPACITY {
        return Err(PolicyError::TooManyPrefixes { count: prefixes.len(), limit: RULES_CAPACITY });
    }
    let tables: HashSet<&Vec<PortDecision>> = prefixes
        .iter()
        .filter_map(|prefix| match &prefix.decision {
            Decision::ByPort(ranges) => Some(ranges),
            Decision::AllPorts(..) => None,
        })
        .collect();
    if tables.len() > PORT_TABLES_CAPACITY {
        return Err(PolicyError::TooManyPortTables { count: tables.len(), limit: PORT_TABLES_CAPACITY });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
