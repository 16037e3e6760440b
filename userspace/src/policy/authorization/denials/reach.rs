//! Which callers reach which ports in plain text, as far as a rule is concerned.

use std::collections::HashMap;

use ipnet::IpNet;

use crate::policy::PortSpan;
use crate::policy::authorization::rule::{Rule, Test, Values};
use crate::policy::ports::PortSet;

/// Which callers and ports a rule matches in plain text: it says nothing of the one that depends on the other.
struct Reach {
    /// Alternatives, of each of which everything has to hold; `None`: whoever calls.
    sources: Option<Vec<Vec<Nets>>>,
    /// What has to hold besides.
    always: Vec<Nets>,
    /// The ports.
    ports: PortSet,
}

/// What rules reach together.
pub(super) struct Reaches {
    /// Ports of which nothing is said about callers.
    everywhere: PortSet,
    all: Vec<Reach>,
    /// By the prefixes, in one of which a caller has to be: places in `all`.
    within: HashMap<IpNet, Vec<usize>>,
    /// The rest of `all`.
    anywhere: Vec<usize>,
}

/// What is taken of a rule that depends on more than the kernel knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Certainty {
    /// What matches whatever the rest.
    Sure,
    /// What matches for one of all possible rests.
    Possible,
}

impl Reaches {
    pub(super) fn of(rules: &[Rule], certainty: Certainty) -> Self {
        let mut reaches = Self {
            everywhere: PortSet::default(),
            all: Vec::new(),
            within: HashMap::new(),
            anywhere: Vec::new(),
        };
        for reach in rules.iter().filter_map(|rule| Reach::new(rule, certainty)) {
            let place = reaches.all.len();
            if reach.sources.is_none() && reach.always.is_empty() {
                reaches.everywhere = reaches.everywhere.or(&reach.ports);
                continue;
            }
            match reach.demanded() {
                None => reaches.anywhere.push(place),
                Some(nets) => {
                    for net in nets {
                        reaches.within.entry(net).or_default().push(place);
                    }
                }
            }
            reaches.all.push(reach);
        }
        reaches
    }

    /// Every prefix that is named.
    pub(super) fn nets(&self) -> impl Iterator<Item = IpNet> {
        let values =
            self.all.iter().flat_map(|reach| reach.sources.iter().flatten().flatten().chain(&reach.always));
        values.flat_map(|nets| nets.any.iter().chain(&nets.none)).copied()
    }

    /// The ports that are reached from what lies in the last of these prefixes and in none of the longer ones that are named;
    /// the others are those that contain it.
    pub(super) fn ports(&self, around: &[IpNet]) -> PortSet {
        let mut ports = self.everywhere.clone();
        let within = around.iter().filter_map(|net| self.within.get(net)).flatten();
        for reach in within.chain(&self.anywhere).map(|&place| &self.all[place]) {
            if ports.is_all() {
                break;
            }
            if reach.contains(around) {
                ports = ports.or(&reach.ports);
            }
        }
        ports
    }
}

/// What things that all have to hold reach.
struct Part {
    nets: Vec<Nets>,
    ports: PortSet,
}

impl Part {
    /// `None`: nothing.
    fn of(tests: &[Test], certainty: Certainty) -> Option<Self> {
        let mut part = Self { nets: Vec::new(), ports: PortSet::all() };
        for test in tests {
            match test {
                Test::Principal(names) | Test::Namespace(names) | Test::Account(names) => {
                    if !names.any.is_empty() {
                        return None;
                    }
                }
                Test::Client(nets) => part.nets.push(Nets::of(nets)),
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

impl Reach {
    /// The reach of a rule; `None`: it reaches nobody.
    fn new(rule: &Rule, certainty: Certainty) -> Option<Self> {
        let parts = |alternatives: &[Box<[Test]>]| -> Option<Vec<Part>> {
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

    /// In one of these a caller has to be, if in any.
    fn demanded(&self) -> Option<Vec<IpNet>> {
        let demanded =
            |nets: &[Nets]| nets.iter().find(|nets| !nets.any.is_empty()).map(|nets| nets.any.clone());
        let of_sources = |sources: &Vec<Vec<Nets>>| -> Option<Vec<IpNet>> {
            Some(sources.iter().map(|nets| demanded(nets)).collect::<Option<Vec<_>>>()?.concat())
        };
        self.sources.as_ref().and_then(of_sources).or_else(|| demanded(&self.always))
    }

    /// Whether it contains what lies in the last of these prefixes: see [`Reaches::ports`].
    fn contains(&self, around: &[IpNet]) -> bool {
        let hold = |nets: &Vec<Nets>| nets.iter().all(|nets| nets.hold(around));
        hold(&self.always) && self.sources.as_ref().is_none_or(|sources| sources.iter().any(hold))
    }
}

/// A list of prefixes and its twin, sorted.
struct Nets {
    any: Vec<IpNet>,
    none: Vec<IpNet>,
}

impl Nets {
    fn of(nets: &Values<IpNet>) -> Self {
        let sorted = |nets: &[IpNet]| {
            let mut nets = nets.to_vec();
            nets.sort_unstable();
            nets
        };
        Self { any: sorted(&nets.any), none: sorted(&nets.none) }
    }

    /// Of the prefixes that are named those contain an address that are among `around`.
    fn hold(&self, around: &[IpNet]) -> bool {
        let among = |nets: &[IpNet]| around.iter().any(|net| nets.binary_search(net).is_ok());
        (self.any.is_empty() || among(&self.any)) && !among(&self.none)
    }
}

fn ports_of(ports: &Values<u16>) -> PortSet {
    let set = |ports: &[u16]| ports.iter().map(|&port| PortSpan::one(port)).collect::<PortSet>();
    let any = if ports.any.is_empty() { PortSet::all() } else { set(&ports.any) };
    any.and(&set(&ports.none).not())
}
