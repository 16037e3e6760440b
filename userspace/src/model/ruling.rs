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
}
