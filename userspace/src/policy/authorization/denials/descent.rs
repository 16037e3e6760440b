//! From shorter prefixes to longer ones: which ports are reached from each, without asking every rule about every prefix.
//!
//! A rule that names callers reaches nobody outside of the prefixes that it names, and is filed under them. Where it asks for
//! nothing else whoever lies in them is reached for sure; otherwise the rule is asked.

use std::collections::HashMap;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{PortSet, Reach, Values};

/// See the head of the file.
pub(super) struct Descent<'a> {
    by_prefix: HashMap<IpNet, Vec<Filed<'a>>>,
    /// What is reached whoever calls.
    everywhere: PortSet,
    /// The prefixes around the one at hand, and what is reached from all that lies in them.
    levels: Vec<(IpNet, PortSet)>,
}

/// A rule under one of its prefixes.
#[derive(Clone, Copy)]
struct Filed<'a> {
    reach: &'a Reach<'a>,
    /// Whether it reaches whoever lies in the prefix.
    sure: bool,
}

impl<'a> Descent<'a> {
    pub(super) fn new(reaches: &'a [Reach<'a>]) -> Self {
        let mut by_prefix: HashMap<IpNet, Vec<Filed<'a>>> = HashMap::new();
        let (anybody, named): (Vec<_>, Vec<_>) =
            reaches.iter().partition(|reach| reach.always.is_empty() && reach.sources.is_none());
        for reach in named {
            let (bounds, sure) = bounds(reach);
            for net in bounds {
                by_prefix.entry(net).or_default().push(Filed { reach, sure });
            }
        }
        let everywhere = anybody.iter().flat_map(|reach| reach.ports.spans()).copied().collect();
        Self { by_prefix, everywhere, levels: Vec::new() }
    }

    /// The ports that are reached from what lies in `net` and in none of the longer prefixes that are named. The prefixes have to
    /// come in their order, and those that rules name have to be among them.
    pub(super) fn ports(&mut self, net: IpNet) -> PortSet {
        while self.levels.pop_if(|(outer, _)| !outer.contains(&net)).is_some() {}
        let outer = self.levels.last().map_or(&self.everywhere, |(_, sure)| sure);
        let own = self.by_prefix.get(&net).into_iter().flatten().filter(|filed| filed.sure);
        let own = own.flat_map(|filed| filed.reach.ports.spans());
        let sure: PortSet = outer.spans().iter().chain(own).copied().collect();
        self.levels.push((net, sure.clone()));
        let around = self.levels.iter().filter_map(|(net, _)| self.by_prefix.get(net)).flatten();
        let asked = around.filter(|filed| !filed.sure && filed.reach.contains(&net));
        asked.fold(sure, |ports, filed| ports.or(&filed.reach.ports))
    }
}

/// Prefixes outside of which a rule reaches nobody, and whether it reaches everybody in them.
fn bounds(reach: &Reach<'_>) -> (Vec<IpNet>, bool) {
    let names = |nets: &&&Values<IpNet>| !nets.any.is_empty();
    let alone = |nets: &[&Values<IpNet>]| matches!(nets, [nets] if nets.none.is_empty());
    if let Some(nets) = reach.always.iter().find(names) {
        return (nets.any.to_vec(), reach.sources.is_none() && alone(&reach.always));
    }
    let sources = reach.sources.as_deref().unwrap_or_default();
    let named: Option<Vec<_>> = sources.iter().map(|nets| nets.iter().find(names)).collect();
    match named {
        Some(named) if !named.is_empty() => {
            let sure = reach.always.is_empty() && sources.iter().all(|nets| alone(nets));
            (named.iter().flat_map(|nets| &nets.any).copied().collect(), sure)
        }
        _ => (vec![Ipv4Net::default().into(), Ipv6Net::default().into()], false),
    }
}
