//! `AuthorizationPolicy`: its rules, as far as they can be decided here.
//!
//! What Istio's own validation refuses is invalid here too. What it takes and we cannot do (CUSTOM, tokens of end users, names
//! that a client asks TLS for) is unsupported: an error only for a workload that it is meant for.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::{Location, Spanned};

use super::ApiVersion;
use super::findings::Findings;
use super::selector::Selector;
use crate::config::Choice;
use crate::config::metadata::Metadata;
use crate::config::object::Object;
use crate::config::value::{Port, Scalar, Value};
use crate::policy::{
    Action, AuthorizationPolicy, AuthorizationRule, Match, Operation, PathPattern, Pattern, Source,
};

mod condition;
mod value;

use condition::WrittenCondition;
use value::{Account, Block};

/// One document.
pub(super) type WrittenPolicy = Object<ApiVersion, Option<Spec>>;

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "the specification of an AuthorizationPolicy"
)]
pub(super) struct Spec {
    selector: Option<Spanned<Selector>>,
    target_ref: Option<Spanned<IgnoredAny>>,
    target_refs: Option<Spanned<IgnoredAny>>,
    action: Option<Spanned<Value<WrittenAction>>>,
    provider: Option<Spanned<IgnoredAny>>,
    rules: Option<Vec<Spanned<WrittenRule>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WrittenAction {
    Decided(Action),
    Custom,
}

impl Choice for WrittenAction {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("ALLOW", Self::Decided(Action::Allow)),
        ("DENY", Self::Decided(Action::Deny)),
        ("AUDIT", Self::Decided(Action::Audit)),
        ("CUSTOM", Self::Custom),
    ];
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a rule with from, to and when")]
struct WrittenRule {
    from: Option<Spanned<Vec<Spanned<WrittenFrom>>>>,
    to: Option<Spanned<Vec<Spanned<WrittenTo>>>>,
    when: Option<Vec<Spanned<WrittenCondition>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a source such as { source: { namespaces: [ shop ] } }")]
struct WrittenFrom {
    source: Option<WrittenSource>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an operation such as { operation: { methods: [ GET ] } }")]
struct WrittenTo {
    operation: Option<WrittenOperation>,
}

/// A list that means nothing if it is empty.
type List<T> = Option<Vec<Value<T>>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "fields of a source")]
struct WrittenSource {
    principals: List<Pattern>,
    not_principals: List<Pattern>,
    request_principals: Option<Spanned<Vec<IgnoredAny>>>,
    not_request_principals: Option<Spanned<Vec<IgnoredAny>>>,
    namespaces: List<Pattern>,
    not_namespaces: List<Pattern>,
    service_accounts: List<Account>,
    not_service_accounts: List<Account>,
    ip_blocks: List<Block>,
    not_ip_blocks: List<Block>,
    remote_ip_blocks: List<Block>,
    not_remote_ip_blocks: List<Block>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "fields of an operation")]
struct WrittenOperation {
    hosts: List<Pattern>,
    not_hosts: List<Pattern>,
    ports: List<Port>,
    not_ports: List<Port>,
    methods: List<Pattern>,
    not_methods: List<Pattern>,
    paths: List<PathPattern>,
    not_paths: List<PathPattern>,
}

/// A list and its twin.
fn both<T: Scalar, U>(any: List<T>, none: List<T>, read: impl Fn(T) -> U) -> Match<U> {
    let values =
        |list: List<T>| list.unwrap_or_default().into_iter().map(|Value(value)| read(value)).collect();
    Match { any: values(any), none: values(none) }
}

/// Where something stands in the rules.
#[derive(Clone, Copy)]
struct Spot<'a> {
    /// Such as `spec.rules[0].from[1]`.
    field: &'a str,
    at: Location,
}

impl WrittenPolicy {
    /// Where each of its rules stands.
    pub(super) fn rules(&self) -> Vec<Location> {
        let rules = self.spec.as_ref().and_then(|spec| spec.rules.as_ref()).into_iter().flatten();
        rules.map(|rule| rule.referenced).collect()
    }

    /// The policy, as far as it is one that can be decided.
    pub(super) fn policy(self, findings: &mut Findings<'_>) -> AuthorizationPolicy {
        let (metadata, spec) = (self.metadata.value, self.spec.unwrap_or_default());
        let action = spec.action(findings);
        let dry_run = dry_run(&metadata, action, findings);
        for (field, target) in [("targetRef", &spec.target_ref), ("targetRefs", &spec.target_refs)] {
            let Some(target) = target else { continue };
            let field = format!("spec.{field}");
            match &spec.selector {
                Some(_) => {
                    findings.invalid(target.referenced, field, "expected it or a selector, found both");
                }
                None => {
                    let message = "expected a selector, since gateways and waypoints are not known here, found a target";
                    findings.unsupported(target.referenced, field, message);
                }
            }
        }
        let selector = Selector::labels(spec.selector.map(|selector| selector.value), findings);
        let namespace = metadata.namespace.0;
        let rules = spec.rules.unwrap_or_default().into_iter().enumerate();
        let rules = rules.map(|(index, rule)| rule.value.rule(index, &namespace, findings)).collect();
        AuthorizationPolicy { name: metadata.name.0, selector, action, rules, dry_run, namespace }
    }
}

impl Spec {
    fn action(&self, findings: &mut Findings<'_>) -> Action {
        let written = self.action.as_ref().map(|action| (action.value.0, action.referenced));
        match (written, &self.provider) {
            (Some((WrittenAction::Custom, at)), _) => {
                let message = "expected ALLOW, DENY or AUDIT, since no other server is asked, found CUSTOM";
                findings.unsupported(at, "spec.action", message);
                Action::default()
            }
            (_, Some(provider)) => {
                let message = "expected a provider for the action CUSTOM only, found one";
                findings.invalid(provider.referenced, "spec.provider", message);
                Action::default()
            }
            (Some((WrittenAction::Decided(action), _)), None) => action,
            (None, None) => Action::default(),
        }
    }
}

/// Whether the policy is only tried.
fn dry_run(metadata: &Metadata, action: Action, findings: &mut Findings<'_>) -> bool {
    let written = metadata.annotations.as_ref().and_then(|annotations| annotations.dry_run.as_ref());
    let Some(Spanned { value: Value(text), referenced, .. }) = written else { return false };
    let mut invalid =
        |message| findings.invalid(*referenced, "metadata.annotations.istio.io/dry-run", message);
    match text.as_str() {
        "false" => {}
        "true" if action == Action::Audit => {
            invalid("expected a policy that allows or denies, found one that only audits".to_owned());
        }
        "true" => return true,
        other => invalid(format!("expected \"true\" or \"false\", found {other:?}")),
    }
    false
}

impl WrittenRule {
    fn rule(self, index: usize, namespace: &str, findings: &mut Findings<'_>) -> AuthorizationRule {
        let mut rule = AuthorizationRule::default();
        if let Some(Spanned { value, referenced, .. }) = self.from {
            expect_some(&value, &format!("spec.rules[{index}].from"), referenced, findings);
            for (item, Spanned { value, referenced, .. }) in value.into_iter().enumerate() {
                let field = format!("spec.rules[{index}].from[{item}].source");
                let spot = Spot { field: &field, at: referenced };
                rule.from.push(value.source.unwrap_or_default().source(namespace, spot, findings));
            }
        }
        if let Some(Spanned { value, referenced, .. }) = self.to {
            expect_some(&value, &format!("spec.rules[{index}].to"), referenced, findings);
            for (item, Spanned { value, referenced, .. }) in value.into_iter().enumerate() {
                let field = format!("spec.rules[{index}].to[{item}].operation");
                let spot = Spot { field: &field, at: referenced };
                rule.to.push(value.operation.unwrap_or_default().operation(spot, findings));
            }
        }
        for (item, Spanned { value, referenced, .. }) in self.when.unwrap_or_default().into_iter().enumerate()
        {
            let field = format!("spec.rules[{index}].when[{item}]");
            rule.when.extend(value.condition(namespace, Spot { field: &field, at: referenced }, findings));
        }
        rule
    }
}

/// A list that is there has something in it: none would match nothing in one reading and everything in another.
fn expect_some<T>(list: &[T], field: &str, at: Location, findings: &mut Findings<'_>) {
    if list.is_empty() {
        findings.invalid(at, field, "expected at least one entry, or no list, found an empty one");
    }
}

impl Findings<'_> {
    /// Something that says nothing, which would match everything.
    fn expected_attributes<T: Default>(&mut self, spot: Spot<'_>) -> T {
        self.invalid(spot.at, spot.field, "expected at least one field with a value, found none");
        T::default()
    }
}

impl WrittenSource {
    fn source(self, namespace: &str, spot: Spot<'_>, findings: &mut Findings<'_>) -> Source {
        let mut tokens = false;
        for (name, list) in [
            ("requestPrincipals", &self.request_principals),
            ("notRequestPrincipals", &self.not_request_principals),
        ] {
            let Some(list) = list.as_ref().filter(|list| !list.value.is_empty()) else { continue };
            tokens = true;
            let message = "expected principals, since tokens of end users are not known here, found it";
            findings.unsupported(list.referenced, format!("{}.{name}", spot.field), message);
        }
        let source = Source {
            principals: both(self.principals, self.not_principals, |pattern| pattern),
            namespaces: both(self.namespaces, self.not_namespaces, |pattern| pattern),
            service_accounts: both(self.service_accounts, self.not_service_accounts, |account| {
                account.pattern(namespace)
            }),
            ip_blocks: both(self.ip_blocks, self.not_ip_blocks, |Block(net)| net),
            remote_ip_blocks: both(self.remote_ip_blocks, self.not_remote_ip_blocks, |Block(net)| net),
        };
        if source == Source::default() && !tokens {
            return findings.expected_attributes(spot);
        }
        let others = source.principals != Match::default() || source.namespaces != Match::default();
        if others && source.service_accounts != Match::default() {
            let message = "expected serviceAccounts, or principals and namespaces, found both";
            findings.invalid(spot.at, spot.field, message);
        }
        source
    }
}

impl WrittenOperation {
    fn operation(self, spot: Spot<'_>, findings: &mut Findings<'_>) -> Operation {
        let operation = Operation {
            hosts: both(self.hosts, self.not_hosts, |pattern| pattern),
            ports: both(self.ports, self.not_ports, |Port(port)| port),
            methods: both(self.methods, self.not_methods, |pattern| pattern),
            paths: both(self.paths, self.not_paths, |pattern| pattern),
        };
        if operation == Operation::default() {
            return findings.expected_attributes(spot);
        }
        let hosts = operation.hosts.any.iter().chain(&operation.hosts.none);
        if hosts.into_iter().any(value::has_port) {
            let message = "expected hosts without ports, which are not compared, found one with a port";
            findings.unsupported(spot.at, format!("{}.hosts", spot.field), message);
        }
        operation
    }
}
