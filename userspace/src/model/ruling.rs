//! What policy says of a connection or a request, and which rule of which policy says so.

use std::fmt;
use std::sync::Arc;

/// Which rule of which policy: written `namespace/name[rule]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RuleName {
    /// `namespace/name`.
    pub policy: Arc<str>,
    /// Its place in `spec.rules`, from 0.
    pub rule: usize,
}

impl fmt::Display for RuleName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}[{}]", self.policy, self.rule)
    }
}

/// Whether something may happen, and what said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Nothing denies it, and either a rule allows it or no `ALLOW` policy is meant for the workload (`None`).
    Allowed(Option<RuleName>),
    /// A `DENY` rule matches, or there are `ALLOW` policies and no rule of theirs matches (`None`).
    Denied(Option<RuleName>),
}

impl Ruling {
    /// Whether it may happen.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// The rule that said so.
    #[must_use]
    pub const fn rule(&self) -> Option<&RuleName> {
        match self {
            Self::Allowed(rule) | Self::Denied(rule) => rule.as_ref(),
        }
    }
}

/// Written `allowed:` or `denied:` and the rule that said so, or `none`.
impl fmt::Display for Ruling {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = if self.is_allowed() { "allowed" } else { "denied" };
        match self.rule() {
            Some(rule) => write!(formatter, "{effect}:{rule}"),
            None => write!(formatter, "{effect}:{NO_RULE}"),
        }
    }
}

/// What stands in the place of a rule where no rule of an `ALLOW` policy matched.
pub const NO_RULE: &str = "none";

/// What the policies say of one call. The default is what they say where there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What holds.
    pub ruling: Ruling,
    /// What would hold if the policies that are only tried (dry-run) held too, where that is the other thing.
    pub would_be: Option<Ruling>,
    /// The first rule of an `AUDIT` policy that matches.
    pub audited: Option<RuleName>,
}

impl Default for Decided {
    fn default() -> Self {
        Self { ruling: Ruling::Allowed(None), would_be: None, audited: None }
    }
}

impl Decided {
    /// Whether no policy has anything to do with it.
    #[must_use]
    pub const fn says_nothing(&self) -> bool {
        matches!(self, Self { ruling: Ruling::Allowed(None), would_be: None, audited: None })
    }

    /// The rule that decided, as it is told: [`NO_RULE`] where the call is denied because none allows it, nothing where
    /// policy has nothing to say.
    #[must_use]
    pub fn policy(&self) -> Option<String> {
        match &self.ruling {
            Ruling::Allowed(None) => None,
            Ruling::Denied(None) => Some(NO_RULE.to_owned()),
            Ruling::Allowed(Some(rule)) | Ruling::Denied(Some(rule)) => Some(rule.to_string()),
        }
    }

    /// What would hold if what is tried did, as it is told.
    #[must_use]
    pub fn would_be(&self) -> Option<String> {
        self.would_be.as_ref().map(ToString::to_string)
    }

    /// The rule that audits it, as it is told.
    #[must_use]
    pub fn audit(&self) -> Option<String> {
        self.audited.as_ref().map(ToString::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_told_by_the_rule_that_made_it() {
        let rule = Some(RuleName { policy: "shop/near".into(), rule: 2 });
        let told = |ruling: &Ruling| Decided { ruling: ruling.clone(), ..Decided::default() }.policy();
        for (ruling, policy, written) in [
            (Ruling::Allowed(None), None, "allowed:none"),
            (Ruling::Denied(None), Some("none"), "denied:none"),
            (Ruling::Allowed(rule.clone()), Some("shop/near[2]"), "allowed:shop/near[2]"),
            (Ruling::Denied(rule), Some("shop/near[2]"), "denied:shop/near[2]"),
        ] {
            assert_eq!(told(&ruling).as_deref(), policy, "{ruling:?}");
            assert_eq!(ruling.to_string(), written);
        }
    }
}
