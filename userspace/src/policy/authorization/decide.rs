//! The decision.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::{Action, AuthorizationPolicy, AuthorizationRule, Call, Condition, Content};
use super::{Operation, Source};
use crate::model::{Decided, Identity, RuleName, Ruling};
use crate::policy::target::canonical;

/// Looks at every rule of every policy.
pub(super) fn decide(policies: &[(Arc<str>, AuthorizationPolicy)], call: &Call<'_>) -> Decided {
    let ruling = rule(policies, call, |policy| !policy.dry_run);
    let would_be = rule(policies, call, |_| true);
    let audited = first(policies, call, |policy| policy.action == Action::Audit);
    let differs = ruling.is_allowed() != would_be.is_allowed();
    Decided { ruling, would_be: differs.then_some(would_be), audited }
}

type Counts = fn(&AuthorizationPolicy) -> bool;

fn rule(policies: &[(Arc<str>, AuthorizationPolicy)], call: &Call<'_>, counts: Counts) -> Ruling {
    if let Some(name) = first(policies, call, |policy| policy.action == Action::Deny && counts(policy)) {
        return Ruling::Denied(Some(name));
    }
    let allowing = |policy: &AuthorizationPolicy| policy.action == Action::Allow && counts(policy);
    match first(policies, call, allowing) {
        Some(name) => Ruling::Allowed(Some(name)),
        None if policies.iter().any(|(_, policy)| allowing(policy)) => Ruling::Denied(None),
        None => Ruling::Allowed(None),
    }
}

fn first(
    policies: &[(Arc<str>, AuthorizationPolicy)],
    call: &Call<'_>,
    counts: impl Fn(&AuthorizationPolicy) -> bool,
) -> Option<RuleName> {
    policies.iter().filter(|(_, policy)| counts(policy)).find_map(|(name, policy)| {
        let rule = policy.rules.iter().position(|rule| matches(rule, call, policy.action == Action::Deny))?;
        Some(RuleName { policy: Arc::clone(name), rule })
    })
}

fn matches(rule: &AuthorizationRule, call: &Call<'_>, denies: bool) -> bool {
    (rule.from.is_empty() || rule.from.iter().any(|source| is_from(source, call)))
        && (rule.to.is_empty() || rule.to.iter().any(|operation| is_to(operation, call, denies)))
        && rule.when.iter().all(|condition| holds(condition, call, denies))
}

fn is_from(source: &Source, call: &Call<'_>) -> bool {
    let Source { principals, namespaces, service_accounts, ip_blocks, remote_ip_blocks } = source;
    let account = call.source.map(|source| format!("{}/{}", source.namespace(), source.service_account()));
    principals.holds(|pattern| call.source.is_some_and(|source| pattern.matches(source.principal())))
        && namespaces.holds(|pattern| call.source.is_some_and(|source| pattern.matches(source.namespace())))
        && service_accounts.holds(|pattern| account.as_ref().is_some_and(|account| pattern.matches(account)))
        && ip_blocks.holds(|net| lies_in(call.client, net))
        && remote_ip_blocks.holds(|net| lies_in(call.client, net))
}

fn is_to(operation: &Operation, call: &Call<'_>, denies: bool) -> bool {
    let Operation { ports, hosts, methods, paths } = operation;
    let http = match call.content {
        Content::Opaque => denies || !operation.reads_requests(),
        Content::Http(asked) => {
            hosts.holds(|pattern| asked.host.is_some_and(|host| pattern.matches(host)))
                && methods.holds(|pattern| pattern.matches(asked.method))
                && paths.holds(|pattern| pattern.matches(asked.path))
        }
    };
    http && ports.holds(|&port| port == call.destination.port())
}

fn holds(condition: &Condition, call: &Call<'_>, denies: bool) -> bool {
    match condition {
        Condition::SourceIp(nets) | Condition::RemoteIp(nets) => nets.holds(|net| lies_in(call.client, net)),
        Condition::DestinationIp(nets) => nets.holds(|net| lies_in(call.destination.ip(), net)),
        Condition::DestinationPort(ports) => ports.holds(|&port| port == call.destination.port()),
        Condition::SourceNamespace(patterns) => {
            patterns.holds(|pattern| call.source.is_some_and(|source| pattern.matches(source.namespace())))
        }
        Condition::SourcePrincipal(patterns) => {
            patterns.holds(|pattern| call.source.is_some_and(|source| pattern.matches(source.principal())))
        }
        Condition::SourceServiceAccount(patterns) => patterns.holds(|pattern| {
            let account = |source: &Identity| format!("{}/{}", source.namespace(), source.service_account());
            call.source.is_some_and(|source| pattern.matches(&account(source)))
        }),
        Condition::Header(name, patterns) => match call.content {
            Content::Opaque => denies,
            Content::Http(asked) => patterns.holds(|pattern| {
                asked
                    .headers
                    .get_all(name)
                    .iter()
                    .any(|value| value.to_str().is_ok_and(|value| pattern.matches(value)))
            }),
        },
    }
}

/// An IPv4-mapped address is an IPv4 address.
fn lies_in(address: IpAddr, net: &IpNet) -> bool {
    canonical(*net).contains(&address.to_canonical())
}
