//! A second evaluator: Istio's reference read sentence by sentence, without regard to speed. It shares nothing with the
//! first but the words that policies are made of.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::*;
use crate::model::{RuleName, Ruling};

pub(super) fn decide(policies: &[AuthorizationPolicy], call: &Call<'_>) -> Decided {
    let held: Vec<_> = policies.iter().filter(|policy| !policy.dry_run).collect();
    let tried: Vec<_> = policies.iter().collect();
    let (ruling, other) = (ruling(&held, call), ruling(&tried, call));
    let audits: Vec<_> = policies.iter().filter(|policy| policy.action == Action::Audit).collect();
    let changes = matches!(ruling, Ruling::Allowed(_)) != matches!(other, Ruling::Allowed(_));
    Decided { would_be: changes.then_some(other), ruling, audited: matching(&audits, call) }
}

/// "If there are any DENY policies that match the request, deny the request. If there are no ALLOW policies for the workload,
/// allow the request. If any of the ALLOW policies match the request, allow the request. Deny the request."
fn ruling(policies: &[&AuthorizationPolicy], call: &Call<'_>) -> Ruling {
    let of = |action| policies.iter().copied().filter(|policy| policy.action == action).collect::<Vec<_>>();
    if let Some(denied) = matching(&of(Action::Deny), call) {
        return Ruling::Denied(Some(denied));
    }
    let allowing = of(Action::Allow);
    if allowing.is_empty() {
        return Ruling::Allowed(None);
    }
    matching(&allowing, call).map_or(Ruling::Denied(None), |name| Ruling::Allowed(Some(name)))
}

/// "A match occurs when at least one rule matches the request."
fn matching(policies: &[&AuthorizationPolicy], call: &Call<'_>) -> Option<RuleName> {
    for policy in policies {
        for (place, rule) in policy.rules.iter().enumerate() {
            if matches(rule, call, policy.action == Action::Deny) {
                let name = format!("{}/{}", policy.namespace, policy.name);
                return Some(RuleName { policy: name.into(), rule: place });
            }
        }
    }
    None
}

/// "A match occurs when at least one source, one operation and all conditions matches the request."
fn matches(rule: &AuthorizationRule, call: &Call<'_>, denies: bool) -> bool {
    let mut from = rule.from.is_empty();
    for source in &rule.from {
        from |= is_from(source, call);
    }
    let mut to = rule.to.is_empty();
    for operation in &rule.to {
        to |= is_to(operation, call, denies);
    }
    let mut when = true;
    for condition in &rule.when {
        when &= holds(condition, call, denies);
    }
    from && to && when
}

/// "Fields in the source are ANDed together."
fn is_from(source: &Source, call: &Call<'_>) -> bool {
    let text =
        |list, of: fn(&Identity) -> String| texts(list, &call.source.map(of).into_iter().collect::<Vec<_>>());
    text(&source.principals, principal)
        && text(&source.namespaces, namespace)
        && text(&source.service_accounts, account)
        && in_nets(&source.ip_blocks, call.client)
        && in_nets(&source.remote_ip_blocks, call.client)
}

fn principal(identity: &Identity) -> String {
    identity.to_string().replacen("spiffe://", "", 1)
}

fn namespace(identity: &Identity) -> String {
    principal(identity).split('/').nth(2).unwrap_or_default().to_owned()
}

fn account(identity: &Identity) -> String {
    format!("{}/{}", namespace(identity), principal(identity).split('/').nth(4).unwrap_or_default())
}

/// "Fields in the operation are ANDed together."
fn is_to(operation: &Operation, call: &Call<'_>, denies: bool) -> bool {
    let Operation { ports, hosts, methods, paths } = operation;
    let at_port = (ports.any.is_empty() || ports.any.contains(&call.destination.port()))
        && !ports.none.contains(&call.destination.port());
    let said = match call.content {
        // "Must be used only with HTTP": an ALLOW rule that has them cannot match, a DENY rule is what it is without them.
        Content::Opaque => denies || (hosts.is_empty() && methods.is_empty() && paths.is_empty()),
        Content::Http(asked) => {
            let host: Vec<String> = asked.host.map(host_forms).unwrap_or_default();
            let lower = |list: &[Pattern]| list.iter().map(lower_case).collect::<Vec<_>>();
            let hosts = Match { any: lower(&hosts.any), none: lower(&hosts.none) };
            texts(&hosts, &host)
                && texts(methods, &[asked.method.to_owned()])
                && one_and_none(paths, |pattern| is_path(pattern, asked.path))
        }
    };
    at_port && said
}

/// A host without its port and the dot of the root, and as it came.
fn host_forms(host: &str) -> Vec<String> {
    let host = host.to_lowercase();
    let digits = host.len() - host.trim_end_matches(|letter: char| letter.is_ascii_digit()).len();
    let front = &host[..host.len() - digits];
    let bare = front.strip_suffix(':').unwrap_or(&host);
    vec![bare.strip_suffix('.').unwrap_or(bare).to_owned(), host.clone()]
}

fn lower_case(pattern: &Pattern) -> Pattern {
    match pattern {
        Pattern::Exact(text) => Pattern::Exact(text.to_lowercase().into()),
        Pattern::Prefix(text) => Pattern::Prefix(text.to_lowercase().into()),
        Pattern::Suffix(text) => Pattern::Suffix(text.to_lowercase().into()),
        Pattern::Present => Pattern::Present,
    }
}

/// Segment by segment, trying everything that `{**}` may stand for.
fn is_path(pattern: &PathPattern, path: &str) -> bool {
    fn rest(parts: &[TemplatePart], segments: &[&str]) -> bool {
        match (parts, segments) {
            ([], []) => true,
            ([], _) | (_, []) => false,
            ([TemplatePart::Segment(text), parts @ ..], [segment, segments @ ..]) => {
                **text == **segment && rest(parts, segments)
            }
            ([TemplatePart::One, parts @ ..], [segment, segments @ ..]) => {
                !segment.is_empty() && rest(parts, segments)
            }
            ([TemplatePart::Many, parts @ ..], segments) => {
                (1..=segments.len()).any(|count| rest(parts, &segments[count..]))
            }
        }
    }
    match pattern {
        PathPattern::Text(pattern) => is(pattern, path),
        PathPattern::Template(parts) => {
            let segments: Vec<&str> = path.split('/').collect();
            segments.len() > 1 && segments[0].is_empty() && rest(parts, &segments[1..])
        }
    }
}

fn holds(condition: &Condition, call: &Call<'_>, denies: bool) -> bool {
    let text =
        |list, of: fn(&Identity) -> String| texts(list, &call.source.map(of).into_iter().collect::<Vec<_>>());
    match condition {
        Condition::SourceIp(nets) | Condition::RemoteIp(nets) => in_nets(nets, call.client),
        Condition::DestinationIp(nets) => in_nets(nets, call.destination.ip()),
        Condition::SourceNamespace(list) => text(list, namespace),
        Condition::SourcePrincipal(list) => text(list, principal),
        Condition::SourceServiceAccount(list) => text(list, account),
        Condition::DestinationPort(ports) => one_and_none(ports, |port| *port == call.destination.port()),
        Condition::Header(name, list) => match call.content {
            Content::Opaque => denies,
            Content::Http(asked) => {
                let mut values = Vec::new();
                for (found, value) in asked.headers {
                    if found == name {
                        values.push(value.as_bytes().trim_ascii().to_vec());
                    }
                }
                // The authority is the host, whichever way it came.
                if name == "host" {
                    values.extend(asked.host.map(|host| host.to_lowercase().into_bytes()));
                }
                one_and_none(list, |pattern| match pattern {
                    Pattern::Present => !values.is_empty(),
                    Pattern::Exact(text) => values.iter().any(|value| value == text.as_bytes()),
                    Pattern::Prefix(text) => values.iter().any(|value| value.starts_with(text.as_bytes())),
                    Pattern::Suffix(text) => values.iter().any(|value| value.ends_with(text.as_bytes())),
                })
            }
        },
    }
}

/// One of the list, if there is a list; none of its twin.
fn one_and_none<T>(list: &Match<T>, is: impl Fn(&T) -> bool) -> bool {
    (list.any.is_empty() || list.any.iter().filter(|one| is(one)).count() > 0)
        && list.none.iter().filter(|one| is(one)).count() == 0
}

fn texts(list: &Match<Pattern>, texts: &[String]) -> bool {
    one_and_none(list, |pattern| texts.iter().any(|text| is(pattern, text)))
}

fn is(pattern: &Pattern, text: &str) -> bool {
    match pattern {
        Pattern::Exact(exact) => text.split_at_checked(exact.len()) == Some((&**exact, "")),
        Pattern::Prefix(prefix) => text.strip_prefix(&**prefix).is_some(),
        Pattern::Suffix(suffix) => text.strip_suffix(&**suffix).is_some(),
        Pattern::Present => text.chars().next().is_some(),
    }
}

fn in_nets(nets: &Match<IpNet>, address: IpAddr) -> bool {
    one_and_none(nets, |net| {
        let wide = |address: IpAddr| match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        let more = if net.addr().is_ipv4() { 96 } else { 0 };
        let beyond = 128 - u32::from(net.prefix_len()) - more;
        let same = wide(address).checked_shr(beyond) == wide(net.addr()).checked_shr(beyond);
        // IPv6 networks that are wider than the range of mapped addresses say nothing of IPv4.
        let mapped = IpNet::from(wide_address(address)).addr() != address || is_mapped(address);
        same && (!mapped || more == 96 || net.prefix_len() >= 96)
    })
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

fn wide_address(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V6(address.to_ipv6_mapped()),
        wide @ IpAddr::V6(_) => wide,
    }
}
