//! Which plain text is denied for sure: a table for the kernel of callers' prefixes and ports.
//!
//! Of a connection in plain text the kernel knows who it comes from and which port it is for. Plain text has no identity, so
//! that nothing which asks for one can match. What it will say is not known, nor is the address that it is for: where one of
//! them matters, nothing is said here and the proxy decides. Where the tables are too small for all that is known, less is
//! said, and never more.
//!
//! Of the prefixes that the policies name, one contains another or they have nothing in common. What lies in a prefix and in
//! none of the longer ones is therefore treated alike throughout, and one lookup of the longest prefix tells what holds.

mod descent;

use std::collections::{BTreeMap, HashSet};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sidestep_abi::maps::{PORT_TABLES_CAPACITY, RULES_CAPACITY};
use sidestep_abi::rules::PORT_RANGES;
use sidestep_abi::verdict::{Reason, Verdict};

use super::rule::{Rule, Test, Values};
use super::rulebook::{Group, Rulebook};
use crate::policy::compile::position;
use crate::policy::ports::PortSet;
use crate::policy::{Compiled, CompiledPrefix, Decision, PortDecision, PortSpan};
use descent::Descent;

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
    let reaches = |group, certainty| -> Vec<Reach<'_>> {
        book.rules(group).iter().filter_map(|rule| Reach::new(rule, certainty)).collect()
    };
    let denied = reaches(Group::Deny, Certainty::Sure);
    let allowed = book.allows.then(|| reaches(Group::Allow, Certainty::Possible));
    let spared: PortSet = spared.iter().map(|&port| PortSpan::one(port)).collect();
    let decided = spared.not();

    let mut denying = Descent::new(&denied);
    let mut allowing = allowed.as_deref().map(Descent::new);
    let mut prefixes: Vec<CompiledPrefix> = Vec::new();
    let mut tables: HashSet<Vec<PortDecision>> = HashSet::new();
    // Indices into `prefixes`: those that contain the one at hand, the longest last.
    let mut ancestors: Vec<usize> = Vec::new();
    for net in named(denied.iter().chain(allowed.iter().flatten())) {
        let mut ports = denying.ports(net);
        if let Some(allowing) = &mut allowing {
            ports = ports.or(&allowing.ports(net).not());
        }
        let mut decision = refusing(&ports.and(&decided));
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
fn named<'a>(reaches: impl Iterator<Item = &'a Reach<'a>>) -> Vec<IpNet> {
    let mut nets: Vec<IpNet> = vec![Ipv4Net::default().into(), Ipv6Net::default().into()];
    for reach in reaches {
        let matches = reach.sources.iter().flatten().flatten().chain(&reach.always);
        nets.extend(matches.flat_map(|nets| nets.any.iter().chain(&nets.none)).copied());
    }
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

/// Which callers and ports a rule matches in plain text: it says nothing of the one that depends on the other.
struct Reach<'a> {
    /// Alternatives, of each of which everything has to hold; `None`: whoever calls.
    sources: Option<Vec<Vec<&'a Values<IpNet>>>>,
    /// What has to hold besides.
    always: Vec<&'a Values<IpNet>>,
    /// The ports.
    ports: PortSet,
}

/// What is taken of a rule that depends on more than the kernel knows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Certainty {
    /// What matches whatever the rest.
    Sure,
    /// What matches for one of all possible rests.
    Possible,
}

/// What things that all have to hold reach.
struct Part<'a> {
    nets: Vec<&'a Values<IpNet>>,
    ports: PortSet,
}

impl<'a> Part<'a> {
    /// `None`: nothing.
    fn of(tests: &'a [Test], certainty: Certainty) -> Option<Self> {
        let mut part = Self { nets: Vec::new(), ports: PortSet::all() };
        for test in tests {
            match test {
                Test::Principal(names) | Test::Namespace(names) | Test::Account(names) => {
                    if !names.any.is_empty() {
                        return None;
                    }
                }
                Test::Client(nets) => part.nets.push(nets),
                Test::Port(ports) => part.ports = part.ports.and(&ports_of(ports)),
                Test::Destination(_) | Test::Host(_) | Test::Method(_) | Test::Path(_) | Test::Header(_) => {
                    if certainty == Certainty::Sure {
                        return None;
                    }
                }
            }
        }
        Some(part)
    }
}

impl<'a> Reach<'a> {
    /// The reach of a rule; `None`: it reaches nobody.
    fn new(rule: &'a Rule, certainty: Certainty) -> Option<Self> {
        let parts = |alternatives: &'a [Box<[Test]>]| -> Option<Vec<Part<'a>>> {
            let each = || alternatives.iter().filter_map(|tests| Part::of(tests, certainty)).collect();
            (!alternatives.is_empty()).then(each)
        };
        let always = Part::of(&rule.when, certainty)?;
        // Sources say nothing of ports, and operations nothing of callers.
        let sources = parts(&rule.from).map(|parts| parts.into_iter().map(|part| part.nets).collect());
        let called = parts(&rule.to).map_or_else(PortSet::all, |parts| {
            parts.iter().fold(PortSet::default(), |ports, part| ports.or(&part.ports))
        });
        let reach = Self { sources, always: always.nets, ports: called.and(&always.ports) };
        let someone = reach.sources.as_ref().is_none_or(|sources| !sources.is_empty());
        (someone && !reach.ports.is_empty()).then_some(reach)
    }

    /// Whether it contains what lies in `net` and in none of the longer prefixes that are named.
    fn contains(&self, net: &IpNet) -> bool {
        let holds = |nets: &&Values<IpNet>| nets.hold(|one| one.contains(net));
        let is_from = |sources: &Vec<Vec<&Values<IpNet>>>| sources.iter().any(|nets| nets.iter().all(holds));
        self.always.iter().all(holds) && self.sources.as_ref().is_none_or(is_from)
    }
}

fn ports_of(ports: &Values<u16>) -> PortSet {
    let set = |ports: &[u16]| ports.iter().map(|&port| PortSpan::one(port)).collect::<PortSet>();
    let any = if ports.any.is_empty() { PortSet::all() } else { set(&ports.any) };
    any.and(&set(&ports.none).not())
}
