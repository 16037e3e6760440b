//! What a rule demands that can be looked up.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use http::HeaderName;

use super::Scope;
use super::probe::{self, Entry, Key};
use crate::policy::authorization::rule::{Rule, Test};

/// What a rule demands, in its form: what cannot be looked up is left out.
pub(super) struct Demands {
    from: Vec<Vec<Demand>>,
    to: Vec<Vec<Demand>>,
    when: Vec<Demand>,
}

/// One of these has to be shown.
struct Demand {
    entries: Vec<Entry>,
    /// What has to be known for it.
    scope: Scope,
}

type Demanded = HashMap<Key, u32, FixedState>;

impl Demands {
    pub(super) fn of(rule: &Rule, headers: &[HeaderName]) -> Self {
        let demand = |test: &Test| {
            let scope = if test.reads_requests() { Scope::Request } else { Scope::Connection };
            Some(Demand { entries: probe::entries(test, headers)?, scope })
        };
        let demands = |tests: &[Test]| tests.iter().filter_map(demand).collect();
        Self {
            from: rule.from.iter().map(|tests| demands(tests)).collect(),
            to: rule.to.iter().map(|tests| demands(tests)).collect(),
            when: demands(&rule.when),
        }
    }

    /// Everything.
    pub(super) fn all(&self, scope: Scope) -> impl Iterator<Item = &Entry> {
        let demands = self.from.iter().chain(&self.to).flatten().chain(&self.when);
        demands.filter(move |demand| demand.is_known(scope)).flat_map(|demand| &demand.entries)
    }

    /// That which the fewest rules demand: one of it has to be shown. `None`: there is nothing to look up.
    pub(super) fn fewest(&self, scope: Scope, demanded: &Demanded) -> Option<Vec<Entry>> {
        // The most rules that one look-up can find, and then how many there have to be.
        let weight = |entries: &Vec<Entry>| {
            let each = entries.iter().map(|entry| demanded.get(&entry.key).copied().unwrap_or_default());
            (each.max().unwrap_or_default(), entries.len())
        };
        let best = |demands: &[Demand]| {
            let known = demands.iter().filter(|demand| demand.is_known(scope));
            known.map(|demand| &demand.entries).min_by_key(|entries| weight(entries)).cloned()
        };
        let one_of = |alternatives: &[Vec<Demand>]| -> Option<Vec<Entry>> {
            let each = alternatives.iter().map(|demands| best(demands)).collect::<Option<Vec<_>>>()?;
            Some(each.concat()).filter(|_| !alternatives.is_empty())
        };
        [one_of(&self.from), one_of(&self.to), best(&self.when)].into_iter().flatten().min_by_key(weight)
    }

    /// Besides `entries` one that has to be shown in any case, of those that which the fewest rules demand.
    pub(super) fn besides(&self, entries: &[Entry], scope: Scope, demanded: &Demanded) -> Option<Entry> {
        let parts = [&self.from, &self.to].into_iter().filter(|alternatives| alternatives.len() == 1);
        let must = parts.flatten().flatten().chain(&self.when).filter(|demand| demand.is_known(scope));
        let must = must.filter_map(|demand| match demand.entries[..] {
            [entry] => Some(entry),
            _ => None,
        });
        let other = must.filter(|must| entries.iter().all(|entry| entry.key != must.key));
        other.min_by_key(|entry| demanded.get(&entry.key).copied())
    }
}

impl Demand {
    fn is_known(&self, scope: Scope) -> bool {
        scope == Scope::Request || self.scope == Scope::Connection
    }
}
