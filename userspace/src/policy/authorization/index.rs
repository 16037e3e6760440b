//! Which rules can match a call: each is filed under what it demands, and only what is filed under what a call shows is
//! looked at.
//!
//! A rule can demand several things at once. It is filed under the one that the fewest rules demand, under every value that
//! the list has. Rules that demand nothing that could be looked up (only `not…` twins, or `*`) are looked at always. What is
//! found is looked at as a whole, so that two values of one key cost time and never change a decision.

mod demand;
mod probe;

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::FixedState;
use http::HeaderName;

use super::rule::{Rule, Test};
use super::seen::Seen;
use demand::Demands;
use probe::{Key, Probe};

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
    /// What has to be looked up in `table`, or is hinted at.
    probes: Box<[Probe]>,
    /// Where in `filed` the rules of a key are.
    table: HashMap<Key, (u32, u32), FixedState>,
    /// Rules, of one key in their order.
    filed: Box<[Filed]>,
    /// Those that are looked at always, in their order.
    rest: Box<[Filed]>,
    /// Whether there are hints.
    hints: bool,
    /// The headers that are looked up.
    headers: Box<[HeaderName]>,
}

/// A rule, and what can be known of it without looking at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Filed {
    /// Its number.
    pub(super) number: u32,
    /// What it demands besides, where many are filed together.
    hint: Hint,
    /// Whether it always depends on what is said.
    pub(super) by_content: bool,
}

/// Most headers that are looked up: for each a request costs as much, whether it has it or not.
const MOST_HEADERS: usize = 8;
/// From so many rules of one key on hints are worth it.
const MANY: u32 = 8;

/// Some bits of a key: shown, the key may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Hint(u16);

impl Hint {
    /// Demands nothing.
    const NONE: Self = Self(u16::MAX);
    /// How many there are besides.
    const COUNT: usize = 1024;

    fn of(key: Key) -> Self {
        // Other bits than those that a hash table looks at.
        Self((key.bits() >> 24) as u16 % Self::COUNT as u16)
    }
}

/// The hints that a call shows.
struct Shown([u64; Hint::COUNT / 64]);

impl Shown {
    fn add(&mut self, Hint(hint): Hint) {
        self.0[usize::from(hint / 64)] |= 1 << (hint % 64);
    }

    fn has(&self, hint: Hint) -> bool {
        hint == Hint::NONE || self.0[usize::from(hint.0 / 64)] & 1 << (hint.0 % 64) != 0
    }
}

impl Index {
    /// Files all rules, and for connections those that look at them.
    pub(super) fn new(rules: &[Rule]) -> [Self; 2] {
        let headers = headers(rules);
        let demands: Vec<Demands> = rules.iter().map(|rule| Demands::of(rule, &headers)).collect();
        let connection = Self::file(rules, &demands, Scope::Connection);
        [Self { headers, ..Self::file(rules, &demands, Scope::Request) }, connection]
    }

    fn file(rules: &[Rule], demands: &[Demands], scope: Scope) -> Self {
        let numbered = || {
            let all = (0..).zip(rules.iter().zip(demands));
            all.filter(|(_, (rule, _))| scope == Scope::Request || rule.reads_connection())
        };
        let mut demanded: HashMap<Key, u32, FixedState> = HashMap::default();
        for entry in numbered().flat_map(|(_, (_, demands))| demands.all(scope)) {
            *demanded.entry(entry.key).or_default() += 1;
        }
        let mut index = Self::default();
        let mut probes = BTreeSet::new();
        let (mut filed, mut rest) = (Vec::new(), Vec::new());
        for (number, (rule, demands)) in numbered() {
            let Some(entries) = demands.fewest(scope, &demanded) else {
                rest.push(Filed { number, hint: Hint::NONE, by_content: rule.depends_on_content() });
                continue;
            };
            let together = entries.iter().filter_map(|entry| demanded.get(&entry.key)).max();
            let besides = together.filter(|&&count| count > MANY);
            let besides = besides.and_then(|_| demands.besides(&entries, scope, &demanded));
            let hint = besides.map_or(Hint::NONE, |entry| Hint::of(entry.key));
            index.hints |= hint != Hint::NONE;
            let rule = Filed { number, hint, by_content: rule.depends_on_content() };
            filed.extend(entries.iter().map(|entry| (entry.key, rule)));
            probes.extend(entries.iter().chain(&besides).map(|entry| entry.probe));
        }
        filed.sort_unstable();
        filed.dedup();
        let mut end = 0;
        for group in filed.chunk_by(|(one, _), (other, _)| one == other) {
            let start = end;
            end += group.len() as u32;
            index.table.insert(group[0].0, (start, end));
        }
        index.table.shrink_to_fit();
        index.filed = filed.into_iter().map(|(_, rule)| rule).collect();
        Self { probes: probes.into_iter().collect(), rest: rest.into(), ..index }
    }

    /// Calls `look` with all rules that can match, those of one key in their order.
    pub(super) fn each(&self, seen: &Seen<'_>, mut look: impl FnMut(Filed)) {
        self.rest.iter().copied().for_each(&mut look);
        let mut shown = Shown([0; Hint::COUNT / 64]);
        let mut found = Vec::new();
        for &probe in &self.probes {
            probe.each(seen, &self.headers, |key| {
                let rules =
                    self.table.get(&key).map(|&(start, end)| &self.filed[start as usize..end as usize]);
                if self.hints {
                    shown.add(Hint::of(key));
                    found.extend(rules);
                } else {
                    rules.into_iter().flatten().copied().for_each(&mut look);
                }
            });
        }
        for rules in found {
            rules.iter().filter(|rule| shown.has(rule.hint)).copied().for_each(&mut look);
        }
    }
}

/// The headers that are demanded, if they are few.
fn headers(rules: &[Rule]) -> Box<[HeaderName]> {
    let mut names: Vec<HeaderName> = Vec::new();
    for test in rules.iter().flat_map(|rule| &rule.when) {
        if let Test::Header(header) = test
            && names.len() < MOST_HEADERS
            && !names.contains(&header.0)
        {
            names.push(header.0.clone());
        }
    }
    names.into()
}
