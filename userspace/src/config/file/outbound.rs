//! `outbound:`: rules as they are written, each with its place.

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use sidestep_abi::verdict::Verdict;

use super::or;
use crate::config::value::{OneOrMany, Value};
use crate::config::yaml::{Part, place, section};
use crate::config::{ConfigError, OutboundSettings, Unknown};
use crate::policy::{DenyWith, PolicyError, Rule, Rules, Target};

section!(pub(super) Outbound {
    default: Value<Verdict>,
    deny_with: Value<DenyWith>,
    unknown: Value<Unknown>,
    rules: Vec<WrittenRule>,
});

/// One entry of `outbound.rules`: a verdict and what it is for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", expecting = "a rule such as `deny: 10.0.0.0/8:5432`")]
pub(super) enum WrittenRule {
    Proxy(Spanned<OneOrMany<Target>>),
    Direct(Spanned<OneOrMany<Target>>),
    Deny(Spanned<OneOrMany<Target>>),
}

/// Where a rule was written.
#[derive(Clone, Copy)]
struct Origin {
    location: Location,
    entry: usize,
    /// Where in the entry's list, if it has one.
    item: Option<usize>,
}

impl Outbound {
    /// The settings, if their rules fit together.
    pub(super) fn settings(self, part: Part<'_>) -> Result<OutboundSettings, ConfigError> {
        let defaults = OutboundSettings::default();
        let mut rules = Rules { default: or(self.default, defaults.rules.default), list: Vec::new() };
        let mut origins = Vec::new();
        for (entry, written) in self.rules.unwrap_or_default().into_iter().enumerate() {
            let (verdict, targets) = match written {
                WrittenRule::Proxy(targets) => (Verdict::Proxy, targets),
                WrittenRule::Direct(targets) => (Verdict::Direct, targets),
                WrittenRule::Deny(targets) => (Verdict::Deny, targets),
            };
            let mut add = |target, location, item| {
                rules.list.push(Rule { verdict, target });
                origins.push(Origin { location, entry, item });
            };
            match targets.value {
                OneOrMany::One(target) => add(target, targets.referenced, None),
                OneOrMany::Many(list) => {
                    for (item, Spanned { value: Value(target), referenced, .. }) in
                        list.into_iter().enumerate()
                    {
                        add(target, referenced, Some(item));
                    }
                }
            }
        }
        rules.compile().map_err(|error| bad_rules(part, &error, &rules, &origins))?;
        Ok(OutboundSettings {
            rules,
            deny_with: or(self.deny_with, defaults.deny_with),
            unknown: or(self.unknown, defaults.unknown),
        })
    }
}

/// Points at the rule that an error is about; of two rules at the one that came later.
fn bad_rules(part: Part<'_>, error: &PolicyError, rules: &Rules, origins: &[Origin]) -> ConfigError {
    let (at, other) = match error {
        PolicyError::Conflict { at: [earlier, later], .. } => (Some(*later), Some(*earlier)),
        PolicyError::TooManyPortRanges { at, .. } => (Some(*at), None),
        PolicyError::TooManyPrefixes { .. } | PolicyError::TooManyPortTables { .. } => (None, None),
    };
    let mut message = error.to_string();
    if let Some(line) = other.and_then(|other| place(origins[other].location)).map(|place| place.line) {
        message.push_str(&format!(" (the other is in line {line})"));
    }
    let mut field = "outbound.rules".to_owned();
    if let Some(at) = at {
        field.push_str(&format!("[{}].{}", origins[at].entry, rules.list[at].verdict.word()));
        if let Some(item) = origins[at].item {
            field.push_str(&format!("[{item}]"));
        }
    }
    part.invalid(at.map_or(Location::UNKNOWN, |at| origins[at].location), field, message)
}
