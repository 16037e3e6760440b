//! Which rules can match a call: each is filed under what it demands, and only what is filed under what a call shows is
//! looked at.
//!
//! A rule can demand several things at once. It is filed under the one that the fewest rules demand, under every value that
//! the list has. Rules that demand nothing that could be looked up (only `not…` twins, or `*`) are looked at always. What is
//! found is looked at as a whole, so that two values of one key cost time and never change a decision.

mod probe;

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::FixedState;
use http::HeaderName;

use super::rule::{Rule, Test};
use super::seen::Seen;
use probe::{Entry, Key, Probe};

/// What may be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// What is known of a connection.
    Connection,
    /// And what is known of a request.
    Request,
}

/// Rules by what they demand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    /// What has to be looked up in `table`.
    probes: Box<[Probe]>,
    /// Where in `numbers` the rules of a key are.
    table: HashMap<Key, (u32, u32), FixedState>,
    /// Numbers of rules, of one key in their order.
    numbers: Box<[u32]>,
    /// Those that are looked at always, in their order.
    rest: Box<[u32]>,
    /// The headers that are looked up.
    headers: Box<[HeaderName]>,
}

/// Most headers that are looked up: for each a request costs as much, whether it has it or not.
const MOST_HEADERS: usize = 8;

impl Index {
    /// Files those of `rules` that are `filed`.
    pub(super) fn new(rules: &[Rule], scope: Scope, filed: impl Fn(u32) -> bool) -> Self {
        let headers = headers(rules, scope);
        let rules = || (0..).zip(rules).filter(|(number, _)| filed(*number));
        let entries = |test: &Test| match test.reads_requests() && scope == Scope::Connection {
            true => None,
            false => probe::entries(test, &headers),
        };
        let mut demanded: HashMap<Key, u32, FixedState> = HashMap::default();
        for (_, rule) in rules() {
            for entry in rule.tests().filter_map(entries).flatten() {
                *demanded.entry(entry.key).or_default() += 1;
            }
        }
        let mut probes = BTreeSet::new();
        let mut filed: Vec<(Key, u32)> = Vec::new();
        let mut rest = Vec::new();
        for (number, rule) in rules() {
            match fewest(rule, &demanded, entries) {
                None => rest.push(number),
                Some(entries) => {
                    filed.extend(entries.iter().map(|entry| (entry.key, number)));
                    probes.extend(entries.into_iter().map(|entry| entry.probe));
                }
            }
        }
        filed.sort_unstable();
        filed.dedup();
        let mut table: HashMap<Key, (u32, u32), FixedState> = HashMap::default();
        let mut end = 0;
        for group in filed.chunk_by(|(one, _), (other, _)| one == other) {
            let start = end;
            end += group.len() as u32;
            table.insert(group[0].0, (start, end));
        }
        table.shrink_to_fit();
        let numbers = filed.into_iter().map(|(_, number)| number).collect();
        Self { probes: probes.into_iter().collect(), table, numbers, rest: rest.into(), headers }
    }

    /// Calls `look` with the numbers of all rules that can match, in several lists, each of them in its order.
    pub(super) fn each(&self, seen: &Seen<'_>, mut look: impl FnMut(&[u32])) {
        if !self.rest.is_empty() {
            look(&self.rest);
        }
        for &probe in &self.probes {
            probe.each(seen, &self.headers, |key| {
                if let Some(&(start, end)) = self.table.get(&key) {
                    look(&self.numbers[start as usize..end as usize]);
                }
            });
        }
    }
}

/// The headers that are demanded, if they are few.
fn headers(rules: &[Rule], scope: Scope) -> Box<[HeaderName]> {
    let mut names: Vec<HeaderName> = Vec::new();
    if scope == Scope::Request {
        for test in rules.iter().flat_map(|rule| &rule.when) {
            if let Test::Header(header) = test
                && !names.contains(&header.0)
                && names.len() < MOST_HEADERS
            {
                names.push(header.0.clone());
            }
        }
    }
    names.into()
}

/// Of what the rule demands, that which the fewest rules demand; `None`: there is nothing to look up.
fn fewest(
    rule: &Rule,
    demanded: &HashMap<Key, u32, FixedState>,
    entries: impl Fn(&Test) -> Option<Vec<Entry>>,
) -> Option<Vec<Entry>> {
    // The most rules that one look-up can find, and then how many there have to be.
    let weight = |entries: &Vec<Entry>| {
        let each = entries.iter().map(|entry| demanded.get(&entry.key).copied().unwrap_or_default());
        (each.max().unwrap_or_default(), entries.len())
    };
    let best = |tests: &[Test]| tests.iter().filter_map(&entries).min_by_key(weight);
    let one_of = |alternatives: &[Box<[Test]>]| -> Option<Vec<Entry>> {
        let each = alternatives.iter().map(|tests| best(tests)).collect::<Option<Vec<_>>>()?;
        Some(each.concat()).filter(|_| !alternatives.is_empty())
    };
    [one_of(&rule.from), one_of(&rule.to), best(&rule.when)].into_iter().flatten().min_by_key(weight)
}
