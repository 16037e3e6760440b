//! How often which policy denied, would have, or audited something.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::metrics::{Row, Source};
use crate::model::{Decided, NO_RULE, RuleName, Ruling};

/// Policies that are counted by their names; the rest are one.
const MOST: usize = 1000;
/// What those beyond are called.
const OTHER: &str = "other";

/// What a policy did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Denied,
    WouldDeny,
    WouldAllow,
    Audited,
}

impl Effect {
    const ALL: [Self; 4] = [Self::Denied, Self::WouldDeny, Self::WouldAllow, Self::Audited];

    const fn word(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::WouldDeny => "would_deny",
            Self::WouldAllow => "would_allow",
            Self::Audited => "audited",
        }
    }
}

/// The counts since the workload is served. What passes because nothing speaks of it costs nothing.
#[derive(Debug, Default)]
pub(super) struct Decisions(Mutex<HashMap<Arc<str>, [u64; Effect::ALL.len()]>>);

impl Decisions {
    /// Counts what a decision says besides yes.
    pub(super) fn count(&self, decided: &Decided) {
        let Decided { ruling, would_be, audited } = decided;
        if let Ruling::Denied(rule) = ruling {
            self.add(rule.as_ref(), Effect::Denied);
        }
        if let Some(would_be) = would_be {
            let effect = if would_be.is_allowed() { Effect::WouldAllow } else { Effect::WouldDeny };
            self.add(would_be.rule(), effect);
        }
        if audited.is_some() {
            self.add(audited.as_ref(), Effect::Audited);
        }
    }

    fn add(&self, rule: Option<&RuleName>, effect: Effect) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = rule.map_or(NO_RULE, |rule| &*rule.policy);
        let known = counts.len() < MOST || counts.contains_key(name);
        let name = if known { name } else { OTHER };
        if let Some(counts) = counts.get_mut(name) {
            counts[effect as usize] += 1;
            return;
        }
        let mut first = [0; Effect::ALL.len()];
        first[effect as usize] = 1;
        counts.insert(name.into(), first);
    }
}

impl Source for Decisions {
    fn rows(&self) -> Vec<Row> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_policy = |(policy, counts): (&Arc<str>, &[u64; Effect::ALL.len()])| {
            let (policy, counts) = (Arc::clone(policy), *counts);
            Effect::ALL.into_iter().filter_map(move |effect| {
                let count = counts[effect as usize];
                let row =
                    || Row::PolicyDecisions { policy: Arc::clone(&policy), effect: effect.word(), count };
                (count > 0).then(row)
            })
        };
        counts.iter().flat_map(of_policy).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(policy: &str) -> Option<RuleName> {
        Some(RuleName { policy: policy.into(), rule: 0 })
    }

    fn counted(decisions: &Decisions) -> Vec<(String, &'static str, u64)> {
        let told = |row| match row {
            Row::PolicyDecisions { policy, effect, count } => (policy.to_string(), effect, count),
            other => panic!("{other:?}"),
        };
        let mut rows: Vec<_> = decisions.rows().into_iter().map(told).collect();
        rows.sort();
        rows
    }

    #[test]
    fn what_says_other_than_yes_is_counted_by_the_policy_that_says_so() {
        let decisions = Decisions::default();
        decisions.count(&Decided::default());
        decisions.count(&Decided { ruling: Ruling::Allowed(rule("shop/let-in")), ..Decided::default() });
        assert_eq!(counted(&decisions), []);
        for _ in 0..2 {
            decisions.count(&Decided { ruling: Ruling::Denied(rule("shop/a")), ..Decided::default() });
        }
        decisions.count(&Decided { ruling: Ruling::Denied(None), ..Decided::default() });
        let tried = Decided {
            would_be: Some(Ruling::Denied(rule("shop/a"))),
            audited: rule("shop/b"),
            ..Decided::default()
        };
        decisions.count(&tried);
        decisions.count(&Decided {
            would_be: Some(Ruling::Allowed(None)),
            ruling: Ruling::Denied(None),
            audited: None,
        });
        let expected = [
            ("none", "denied", 2),
            ("none", "would_allow", 1),
            ("shop/a", "denied", 2),
            ("shop/a", "would_deny", 1),
            ("shop/b", "audited", 1),
        ];
        assert_eq!(
            counted(&decisions),
            expected.map(|(policy, effect, count)| (policy.to_owned(), effect, count))
        );
    }

    #[test]
    fn more_policies_than_a_thousand_are_one() {
        let decisions = Decisions::default();
        for number in 0..1500 {
            let ruling = Ruling::Denied(rule(&format!("shop/{number}")));
            decisions.count(&Decided { ruling, ..Decided::default() });
        }
        let counted = counted(&decisions);
        assert_eq!(counted.len(), 1001);
        assert!(counted.contains(&(OTHER.to_owned(), "denied", 500)));
    }
}
