//! Which plain text is denied for sure: a table for the kernel of callers' prefixes and ports.
//!
//! Of a connection in plain text the kernel knows who it comes from and which port it is for. Plain text has no identity, so
//! that nothing which asks for one can match. What it will say is not known, nor is the address that it is for: where one of
//! them matters, nothing is said here and the proxy decides. Where the tables are too small for all that is known, less is
//! said, and never more.
//!
//! Of the prefixes that the policies name, one contains another or they have nothing in common. What lies in a prefix and in
//! none of the longer ones is therefore treated alike throughout, and one lookup of the longest prefix tells what holds.

mod reach;

use std::collections::{BTreeMap, HashSet};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sidestep_abi::maps::{PORT_TABLES_CAPACITY, RULES_CAPACITY};
use sidestep_abi::rules::PORT_RANGES;
use sidestep_abi::verdict::{Reason, Verdict};

use super::rulebook::{Group, Rulebook};
use crate::policy::compile::position;
use crate::policy::ports::PortSet;
use crate::policy::{Compiled, CompiledPrefix, Decision, PortDecision, PortSpan};
use reach::{Certainty, Reaches};

/// What the kernel may refuse by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainTextDenials {
    /// By the *caller's* prefix and the workload's port: deny (reason: policy), or to the proxy, which decides.
    pub table: Compiled,
    /// How many prefixes it takes, if the kernel's table does not hold as many: then `table` denies nothing.
    pub too_many: Option<usize>,
}

/// The table for policies that are meant for one workload.
pub(super) fn find(book: &Rulebook, spared: &[u16]) -> PlainTextDenials {
    let denied = Reaches::of(book.rules(Group::Deny), Certainty::Sure);
    let allowed = book.allows.then(|| Reaches::of(book.rules(Group::Allow), Certainty::Possible));
    let spared: PortSet = spared.iter().map(|&port| PortSpan::one(port)).collect();

    let mut prefixes: Vec<CompiledPrefix> = Vec::new();
    let mut tables: HashSet<Vec<PortDecision>> = HashSet::new();
    // Indices into `prefixes`: those that contain the one at hand, the longest last.
    let mut ancestors: Vec<usize> = Vec::new();
    // All that are named and contain it, itself among them.
    let mut around: Vec<IpNet> = Vec::new();
    for net in named(denied.nets().chain(allowed.iter().flat_map(Reaches::nets))) {
        while around.pop_if(|longest| !longest.contains(&net)).is_some() {}
        around.push(net);
        let mut ports = denied.ports(&around);
        if let Some(allowed) = &allowed {
            ports = ports.or(&allowed.ports(&around).not());
        }
        let mut decision = refusing(&ports.and(&spared.not()));
        if let Decision::ByPort(ranges) = &decision
            && !tables.contains(ranges)
        {
            if tables.len() == PORT_TABLES_CAPACITY {
                decision = PASS;
            } else {
                tables.insert(ranges.clone());
            }
        }
        while ancestors.pop_if(|&mut index| !prefixes[index].net.contains(&net)).is_some() {}
        if ancestors.last().map_or(&PASS, |&index| &prefixes[index].decision) != &decision {
            ancestors.push(prefixes.len());
            prefixes.push(CompiledPrefix { net, decision });
        }
    }
    let mut table = Compiled { default: Verdict::Proxy, prefixes };
    table.shield_ipv4();
    let count = table.prefixes.len();
    if count > RULES_CAPACITY {
        let table = Compiled { default: Verdict::Proxy, prefixes: Vec::new() };
        return PlainTextDenials { table, too_many: Some(count) };
    }
    PlainTextDenials { table, too_many: None }
}

/// Nothing is known to be denied.
const PASS: Decision = Decision::AllPorts(Verdict::Proxy, Reason::Default);
/// All is denied.
const REFUSE: Decision = Decision::AllPorts(Verdict::Deny, Reason::Policy);

/// Every prefix that matters, and both whole families, sorted so that prefixes come directly behind those that contain them.
fn named(nets: impl Iterator<Item = IpNet>) -> Vec<IpNet> {
    let families: [IpNet; 2] = [Ipv4Net::default().into(), Ipv6Net::default().into()];
    let mut nets: Vec<IpNet> = nets.chain(families).collect();
    nets.sort_unstable_by_key(position);
    nets.dedup();
    nets
}

/// The verdicts that refuse these ports, or as many of them as a port table holds.
fn refusing(ports: &PortSet) -> Decision {
    if ports.is_all() {
        return REFUSE;
    }
    // Between and around so many spans there are at most as many others and one more.
    let ports = ports.clone().widest((PORT_RANGES - 1) / 2);
    if ports.is_empty() {
        return PASS;
    }
    let ranges: BTreeMap<PortSpan, (Verdict, Reason)> = (ports.spans().iter())
        .map(|&span| (span, (Verdict::Deny, Reason::Policy)))
        .chain(ports.not().spans().iter().map(|&span| (span, (Verdict::Proxy, Reason::Default))))
        .collect();
    let range = |(ports, (verdict, reason))| PortDecision { ports, verdict, reason };
    Decision::ByPort(ranges.into_iter().map(range).collect())
}
