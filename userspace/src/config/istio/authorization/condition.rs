//! `when`: what has to hold besides, by the name of an attribute.
//!
//! ("Authorization Policy Conditions" in Istio's reference.)

use http::HeaderName;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::value::{Account, Block};
use super::{Findings, Spot};
use crate::config::value::{Port, Scalar, Value};
use crate::policy::{Condition, Match, Pattern};

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "a condition such as { key: source.namespace, values: [ shop ] }"
)]
pub(super) struct WrittenCondition {
    key: Spanned<Value<String>>,
    values: Option<Vec<Spanned<Value<String>>>>,
    not_values: Option<Vec<Spanned<Value<String>>>>,
}

/// The attributes that can be decided.
const KNOWN: &str = "source.ip, remote.ip, source.namespace, source.principal, source.serviceAccount, destination.ip, \
                     destination.port, request.headers[name]";

/// Attributes that Istio knows and we do not.
const UNSUPPORTED: [&str; 6] = [
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "request.auth.claims[",
    "connection.sni",
    "experimental.",
];

impl WrittenCondition {
    /// The condition, if it is one that can be decided.
    pub(super) fn condition(
        self,
        namespace: &str,
        spot: Spot<'_>,
        findings: &mut Findings<'_>,
    ) -> Option<Condition> {
        let (key, at) = (self.key.value.0, self.key.referenced);
        let mut lists =
            Lists { any: self.values, none: self.not_values, field: spot.field, findings: &mut *findings };
        if lists.are_empty() {
            findings.invalid(spot.at, spot.field, "expected values or notValues, found neither");
            return None;
        }
        match key.as_str() {
            "source.ip" => Some(Condition::SourceIp(lists.read(|Block(net)| net))),
            "remote.ip" => Some(Condition::RemoteIp(lists.read(|Block(net)| net))),
            "source.namespace" => Some(Condition::SourceNamespace(lists.read(|pattern| pattern))),
            "source.principal" => Some(Condition::SourcePrincipal(lists.read(|pattern| pattern))),
            "source.serviceAccount" => Some(Condition::SourceServiceAccount(
                lists.read(|account: Account| account.pattern(namespace)),
            )),
            "destination.ip" => Some(Condition::DestinationIp(lists.read(|Block(net)| net))),
            "destination.port" => Some(Condition::DestinationPort(lists.read(|Port(port)| port))),
            other => {
                let patterns: Match<Pattern> = lists.read(|pattern| pattern);
                let field = format!("{}.key", spot.field);
                if let Some(name) = header(other) {
                    match HeaderName::from_bytes(name.as_bytes()) {
                        Ok(name) => return Some(Condition::Header(name, patterns)),
                        Err(_) => {
                            let message = format!("expected the name of a header, found {name:?}");
                            findings.unsupported(at, field, message);
                        }
                    }
                } else if UNSUPPORTED.iter().any(|known| other.starts_with(known)) {
                    findings.unsupported(at, field, format!("expected one of {KNOWN}, found {other:?}"));
                } else {
                    findings.invalid(at, field, format!("expected one of {KNOWN}, found {other:?}"));
                }
                None
            }
        }
    }
}

/// The name in `request.headers[name]`.
fn header(key: &str) -> Option<&str> {
    key.strip_prefix("request.headers[")?.strip_suffix(']').filter(|name| !name.is_empty())
}

/// `values` and `notValues`, which mean what the key says.
struct Lists<'a, 'b> {
    any: Option<Vec<Spanned<Value<String>>>>,
    none: Option<Vec<Spanned<Value<String>>>>,
    field: &'a str,
    findings: &'a mut Findings<'b>,
}

impl Lists<'_, '_> {
    fn are_empty(&self) -> bool {
        let is_empty = |list: &Option<Vec<_>>| list.as_ref().is_none_or(Vec::is_empty);
        is_empty(&self.any) && is_empty(&self.none)
    }

    /// Reads both.
    fn read<T: Scalar, U>(&mut self, meaning: impl Fn(T) -> U) -> Match<U> {
        let (any, none) = (self.any.take(), self.none.take());
        Match { any: self.list(any, "values", &meaning), none: self.list(none, "notValues", &meaning) }
    }

    fn list<T: Scalar, U>(
        &mut self,
        written: Option<Vec<Spanned<Value<String>>>>,
        name: &str,
        meaning: impl Fn(T) -> U,
    ) -> Vec<U> {
        let mut values = Vec::new();
        for (item, Spanned { value: Value(text), referenced, .. }) in
            written.unwrap_or_default().into_iter().enumerate()
        {
            match T::read(&text) {
                Ok(value) => values.push(meaning(value)),
                Err(message) => {
                    self.findings.invalid(referenced, format!("{}.{name}[{item}]", self.field), message);
                }
            }
        }
        values
    }
}
