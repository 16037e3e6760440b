//! What a policy probably does not mean, though it is valid: what can never match, and what matches more than it seems to.

use ipnet::IpNet;

use crate::model::{PathForm, normalize};
use crate::policy::{
    Action, AuthorizationPolicy, AuthorizationRule, Condition, Match, Operation, PathPattern, Pattern, Source,
};

/// One thing to say.
pub(super) struct Advice {
    /// Which rule it is about; none: the policy as a whole.
    pub(super) rule: Option<usize>,
    /// The path of the field.
    pub(super) field: String,
    pub(super) message: String,
}

/// What is being said, and of which rule.
struct Said {
    advice: Vec<Advice>,
    rule: Option<usize>,
}

impl Said {
    fn say(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.advice.push(Advice { rule: self.rule, field: field.into(), message: message.into() });
    }
}

/// Everything there is to say about a policy.
pub(super) fn of(policy: &AuthorizationPolicy) -> Vec<Advice> {
    let mut said = Said { advice: Vec::new(), rule: None };
    if policy.rules.is_empty() {
        let message = match policy.action {
            Action::Allow => {
                "allows nothing: without another policy that does, everything is denied to the workloads it is meant for"
            }
            Action::Deny | Action::Audit => "matches nothing, since it has no rules",
        };
        said.say("spec", message);
    }
    for (index, rule) in policy.rules.iter().enumerate() {
        said.rule = Some(index);
        let field = format!("spec.rules[{index}]");
        if *rule == AuthorizationRule::default() && policy.action == Action::Deny {
            said.say(field.as_str(), "matches everything, and denies it to the workloads it is meant for");
        }
        for (item, source) in rule.from.iter().enumerate() {
            of_source(source, &format!("{field}.from[{item}].source"), &mut said);
        }
        for (item, operation) in rule.to.iter().enumerate() {
            of_operation(operation, policy.action, &format!("{field}.to[{item}].operation"), &mut said);
        }
        for (item, condition) in rule.when.iter().enumerate() {
            of_condition(condition, policy.action, &format!("{field}.when[{item}]"), &mut said);
        }
    }
    said.advice
}

fn of_source(source: &Source, field: &str, said: &mut Said) {
    let Source { principals, namespaces, service_accounts, ip_blocks, remote_ip_blocks } = source;
    of_principals(principals, &format!("{field}.principals"), said);
    of_twins(namespaces, &format!("{field}.namespaces"), said);
    of_twins(service_accounts, &format!("{field}.serviceAccounts"), said);
    of_nets(ip_blocks, &format!("{field}.ipBlocks"), said);
    of_nets(remote_ip_blocks, &format!("{field}.remoteIpBlocks"), said);
    if *remote_ip_blocks != Match::default() {
        said.say(format!("{field}.remoteIpBlocks"), REMOTE);
    }
}

const REMOTE: &str =
    "is compared with the address that the connection comes from: no X-Forwarded-For is believed";

const NOT_HTTP: &str = "is taken for matched where a connection is not HTTP: with the action DENY this rule refuses those \
                        too; name the ports that it is about";

fn of_operation(operation: &Operation, action: Action, field: &str, said: &mut Said) {
    let Operation { ports, hosts, methods, paths } = operation;
    let http = *hosts != Match::default() || *methods != Match::default() || *paths != Match::default();
    if http && action == Action::Deny && *ports == Match::default() {
        said.say(field, NOT_HTTP);
    }
    of_twins(ports, &format!("{field}.ports"), said);
    of_twins(hosts, &format!("{field}.hosts"), said);
    of_twins(methods, &format!("{field}.methods"), said);
    of_patterns(hosts, &format!("{field}.hosts"), said);
    for pattern in methods.any.iter().chain(&methods.none) {
        if let Some(text) = text(pattern).filter(|text| text.bytes().any(|byte| byte.is_ascii_lowercase())) {
            let message = format!("matches no usual method: {text:?} is compared in its own case");
            said.say(format!("{field}.methods"), message);
        }
    }
    for path in paths.any.iter().chain(&paths.none) {
        if let PathPattern::Text(pattern) = path
            && let Some(message) = of_path(pattern)
        {
            said.say(format!("{field}.paths"), message);
        }
    }
}

/// What is wrong with a path that is compared with others in the default form, and without their queries.
fn of_path(pattern: &Pattern) -> Option<String> {
    let (Pattern::Exact(path) | Pattern::Prefix(path) | Pattern::Suffix(path)) = pattern else { return None };
    if path.contains(['?', '#']) {
        return Some(format!(
            "matches nothing: paths are compared without query and fragment, found {path:?}"
        ));
    }
    if matches!(pattern, Pattern::Suffix(_)) {
        return None;
    }
    if !path.starts_with('/') {
        return Some(format!("matches nothing: every path begins with /, found {path:?}"));
    }
    let normal = normalize(path, PathForm::Base);
    let same = normal.as_deref() == Ok(&**path) || matches!(pattern, Pattern::Prefix(_)) && normal.is_err();
    (!same).then(|| format!("matches nothing: paths are normalised before they are compared, found {path:?}"))
}

fn of_condition(condition: &Condition, action: Action, field: &str, said: &mut Said) {
    match condition {
        Condition::SourceIp(nets) | Condition::DestinationIp(nets) => of_nets(nets, field, said),
        Condition::RemoteIp(nets) => {
            of_nets(nets, field, said);
            said.say(field, REMOTE);
        }
        Condition::SourcePrincipal(patterns) => of_principals(patterns, field, said),
        Condition::SourceNamespace(patterns) | Condition::SourceServiceAccount(patterns) => {
            of_twins(patterns, field, said);
        }
        Condition::DestinationPort(ports) => of_twins(ports, field, said),
        Condition::Header(_, patterns) => {
            of_twins(patterns, field, said);
            if action == Action::Deny {
                said.say(field, NOT_HTTP);
            }
        }
    }
}

fn of_principals(patterns: &Match<Pattern>, field: &str, said: &mut Said) {
    of_twins(patterns, field, said);
    of_patterns(patterns, field, said);
    for pattern in patterns.any.iter().chain(&patterns.none) {
        let beginning = match pattern {
            Pattern::Exact(text) | Pattern::Prefix(text) => text,
            Pattern::Suffix(_) | Pattern::Present => continue,
        };
        if beginning.starts_with("spiffe://") {
            said.say(
                field,
                format!("matches nothing: principals are written without spiffe://, found {beginning:?}"),
            );
        }
    }
}

/// A star that is none.
fn of_patterns(patterns: &Match<Pattern>, field: &str, said: &mut Said) {
    for text in patterns.any.iter().chain(&patterns.none).filter_map(text).filter(|text| text.contains('*')) {
        said.say(
            field,
            format!("matches a star itself: only one at the beginning or the end is more, found {text:?}"),
        );
    }
}

/// A value that is asked for and excluded.
fn of_twins<T: PartialEq + std::fmt::Debug>(list: &Match<T>, field: &str, said: &mut Said) {
    if !list.any.is_empty() && list.any.iter().all(|value| list.none.contains(value)) {
        said.say(field, "matches nothing: its not… twin has all that it has");
    }
}

/// Addresses that are asked for and excluded.
fn of_nets(list: &Match<IpNet>, field: &str, said: &mut Said) {
    let excluded = |net: &IpNet| list.none.iter().any(|outer| outer.contains(net));
    if !list.any.is_empty() && list.any.iter().all(excluded) {
        said.say(field, "matches nothing: its not… twin has all that it has");
    }
}

fn text(pattern: &Pattern) -> Option<&str> {
    match pattern {
        Pattern::Exact(text) | Pattern::Prefix(text) | Pattern::Suffix(text) => Some(text),
        Pattern::Present => None,
    }
}
