//! The rules of all policies that are meant for one workload, in the form in which they are looked at.
//!
//! Rules that are about the same thing stand together, in the order in which they were written: so the number of a rule says
//! what it does, and of two that match the lower number is the one that is named.

use std::sync::Arc;

use super::index::{Filed, Index};
use super::rule::{Rule, Test, Truth};
use super::seen::{Said, Seen};
use super::{Action, AuthorizationPolicy};
use crate::model::RuleName;

/// What rules of one kind do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Deny,
    Allow,
    Audit,
    /// Would deny (dry-run).
    TriedDeny,
    /// Would allow (dry-run).
    TriedAllow,
}

const GROUPS: [Group; 5] = [Group::Deny, Group::Allow, Group::Audit, Group::TriedDeny, Group::TriedAllow];

/// For these what speaks of requests is taken for matched by what is none.
const DENYING: [Group; 2] = [Group::Deny, Group::TriedDeny];

/// See the head of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rulebook {
    /// `namespace/name` of each policy.
    names: Box<[Arc<str>]>,
    rules: Box<[Rule]>,
    /// Of each rule its policy, and its place there.
    places: Box<[(u32, u32)]>,
    /// Where the rules of each group end.
    ends: [u32; GROUPS.len()],
    /// Whether there are policies that allow, with rules or without.
    pub(super) allows: bool,
    /// Whether there are policies that would allow.
    pub(super) would_allow: bool,
    /// Whether anybody asks for service accounts.
    accounts: bool,
    /// Of each group whether a rule of it speaks of requests.
    reading: [bool; GROUPS.len()],
    by_request: Index,
    /// Without the rules that do not look at the connection.
    by_connection: Index,
    /// What the rules that do not look at the connection say of one that is not read, and of one that has said nothing.
    opaque: Found,
    unknown: Found,
}

/// Which rules match, of each group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The first that does.
    first: [Option<u32>; GROUPS.len()],
    /// Whether others may.
    perhaps: [bool; GROUPS.len()],
}

impl Default for Found {
    fn default() -> Self {
        Self { first: [None; GROUPS.len()], perhaps: [false; GROUPS.len()] }
    }
}

impl Found {
    pub(super) const fn first(&self, group: Group) -> Option<u32> {
        self.first[group as usize]
    }

    pub(super) const fn truth(&self, group: Group) -> Truth {
        match (self.first(group), self.perhaps[group as usize]) {
            (Some(_), _) => Truth::Yes,
            (None, true) => Truth::Perhaps,
            (None, false) => Truth::No,
        }
    }
}

impl Rulebook {
    pub(super) fn new(policies: &[&AuthorizationPolicy]) -> Self {
        let names = policies.iter().map(|policy| format!("{}/{}", policy.namespace, policy.name).into());
        let (mut rules, mut places, mut ends) = (Vec::new(), Vec::new(), [0; GROUPS.len()]);
        for group in GROUPS {
            for (number, policy) in (0_u32..).zip(policies) {
                if Group::of(policy) == group {
                    rules.extend(policy.rules.iter().map(Rule::new));
                    places.extend((0..policy.rules.len() as u32).map(|place| (number, place)));
                }
            }
            ends[group as usize] = rules.len() as u32;
        }
        let rules: Box<[Rule]> = rules.into();
        let has = |group| policies.iter().any(|policy| Group::of(policy) == group);
        let accounts = rules.iter().flat_map(Rule::tests).any(|test| matches!(test, Test::Account(_)));
        let [by_request, by_connection] = Index::new(&rules);
        let mut book = Self {
            names: names.collect(),
            places: places.into(),
            ends,
            allows: has(Group::Allow),
            would_allow: has(Group::TriedAllow),
            accounts,
            by_request,
            by_connection,
            rules,
            ..Self::default()
        };
        let reads = |group| book.rules(group).iter().flat_map(Rule::tests).any(Test::reads_requests);
        book.reading = GROUPS.map(reads);
        book.opaque = book.say(Said::Opaque);
        book.unknown = book.say(Said::Unknown);
        book
    }

    /// What rules say that do not look at the connection.
    fn say(&self, said: Said<'_>) -> Found {
        let nowhere = ([0, 0, 0, 0], 0).into();
        let mut seen = Seen::connection(None, [0, 0, 0, 0].into(), nowhere, false);
        seen.said = said;
        let mut found = Found::default();
        for (number, rule) in (0..).zip(&self.rules) {
            if !rule.reads_connection() {
                self.look(&seen, number, &mut found);
            }
        }
        found
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether anybody asks for service accounts.
    pub(super) const fn reads_accounts(&self) -> bool {
        self.accounts
    }

    /// Whether a rule of these groups speaks of requests.
    pub(super) fn reads_requests(&self, meant: impl Fn(Group) -> bool) -> bool {
        GROUPS.into_iter().zip(self.reading).any(|(group, reads)| reads && meant(group))
    }

    /// Which rules match.
    pub(super) fn find(&self, seen: &Seen<'_>) -> Found {
        let (mut found, index) = match seen.said {
            Said::Http(_) => (Found::default(), &self.by_request),
            Said::Opaque => (self.opaque.clone(), &self.by_connection),
            Said::Unknown => (self.unknown.clone(), &self.by_connection),
        };
        index.each(seen, |filed| {
            if !self.is_told(seen, filed, &found) {
                self.look(seen, filed.number, &mut found);
            }
        });
        found
    }

    /// Whether looking at a rule would tell nothing new, as far as that is known without doing so.
    fn is_told(&self, seen: &Seen<'_>, filed: Filed, found: &Found) -> bool {
        let group = self.group(filed.number);
        match seen.said {
            Said::Unknown => filed.by_content && found.perhaps[group],
            Said::Opaque => filed.by_content && !DENYING.contains(&GROUPS[group]),
            Said::Http(_) => false,
        }
    }

    fn look(&self, seen: &Seen<'_>, number: u32, found: &mut Found) {
        let group = self.group(number);
        if found.first[group].is_some_and(|first| first <= number) {
            return;
        }
        match self.rules[number as usize].truth(seen, DENYING.contains(&GROUPS[group])) {
            Truth::No => {}
            Truth::Perhaps => found.perhaps[group] = true,
            Truth::Yes => found.first[group] = Some(number),
        }
    }

    /// A number that is no rule's gets the last one.
    fn group(&self, number: u32) -> usize {
        self.ends[..GROUPS.len() - 1].iter().filter(|&&end| end <= number).count()
    }

    /// The rules of a group.
    pub(super) fn rules(&self, group: Group) -> &[Rule] {
        let start = (group as usize).checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.rules[start as usize..self.ends[group as usize] as usize]
    }

    /// What a rule is called.
    pub(super) fn name(&self, number: u32) -> RuleName {
        let (policy, rule) = self.places[number as usize];
        RuleName { policy: Arc::clone(&self.names[policy as usize]), rule: rule as usize }
    }
}

impl Group {
    const fn of(policy: &AuthorizationPolicy) -> Self {
        match (policy.action, policy.dry_run) {
            (Action::Deny, false) => Self::Deny,
            (Action::Allow, false) => Self::Allow,
            (Action::Audit, _) => Self::Audit,
            (Action::Deny, true) => Self::TriedDeny,
            (Action::Allow, true) => Self::TriedAllow,
        }
    }
}
