//! Policies and a call: many policies decide as each of them does alone, what is known of a connection before it says anything
//! holds whatever it says, and what the kernel would deny is denied.
//!
//! A line is a policy of one rule: `allow`, `deny`, `audit`, `try-allow` or `try-deny`, and what it demands, with `!` in front
//! for the twin: `p:` principal, `n:` namespace, `s:` service account, `i:` network, `d:` network of the destination, `:` port,
//! `h:` host, `m:` method, `/…` or `*…` path, `name=value` header. Behind an empty line the call: principal (or `-`), address,
//! port, and of a request method, host (or `-`), path and headers.
#![no_main]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use sidestep_fuzz::model::{Decided, Identity, Ruling};
use sidestep_fuzz::policy::{
    Action, Asked, Authorization, AuthorizationPolicy, AuthorizationRule, Call, Condition, Content, Match, Operation,
    PathPattern, Pattern, Prospect, Source, Subject,
};

fuzz_target!(|text: &str| {
    let Some((policies, call)) = text.split_once("\n\n") else { return };
    let policies: Vec<AuthorizationPolicy> = policies.lines().enumerate().filter_map(policy).collect();
    let mut words = call.split_ascii_whitespace();
    let mut word = || words.next();
    let (Some(source), Some(Ok(client)), Some(Ok(port))) =
        (word(), word().map(str::parse::<IpAddr>), word().map(str::parse::<u16>))
    else {
        return;
    };
    let source: Option<Identity> = format!("spiffe://{source}").parse().ok();
    let asked = match (word(), word(), word()) {
        (Some(method), Some(host), Some(path)) => Some((method, Some(host).filter(|host| *host != "-"), path)),
        _ => None,
    };
    let mut headers = HeaderMap::new();
    for (name, value) in words.filter_map(header) {
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("printable"));
    }
    let content = asked.map_or(Content::Opaque, |(method, host, path)| {
        Content::Http(Asked { method, host, path, headers: &headers })
    });
    let destination = SocketAddr::new(Ipv4Addr::new(10, 0, 0, 9).into(), port);
    let call = Call { source: source.as_ref(), client, destination, content };

    let all = held(&policies);
    let decided = all.decide(&call);
    assert_eq!(decided, one_by_one(&policies, &call));
    for content in [call.content, Content::Opaque] {
        if let Prospect::Decided(known) = all.prospect(call.source, client, destination) {
            assert_eq!(known.ruling.is_allowed(), all.decide(&Call { content, ..call }).ruling.is_allowed());
        }
    }
    let plain = Call { source: None, ..call };
    let (verdict, _) = all.plain_text_denials(&[]).table.decide(SocketAddr::new(client, port));
    assert!(verdict != sidestep_abi::verdict::Verdict::Deny || !all.decide(&plain).ruling.is_allowed());
});

/// What each policy says alone, put together.
fn one_by_one(policies: &[AuthorizationPolicy], call: &Call<'_>) -> Decided {
    let matching = |action: Action, tried: &[bool]| {
        let those = policies.iter().filter(|policy| policy.action == action && tried.contains(&policy.dry_run));
        those.clone().find_map(|policy| {
            let alone = AuthorizationPolicy { dry_run: false, ..policy.clone() };
            let decided = held(&[alone]).decide(call);
            decided.ruling.rule().cloned().or(decided.audited)
        })
    };
    let ruling = |tried: &[bool]| {
        let allows = |policy: &AuthorizationPolicy| policy.action == Action::Allow && tried.contains(&policy.dry_run);
        match (matching(Action::Deny, tried), matching(Action::Allow, tried)) {
            (Some(name), _) => Ruling::Denied(Some(name)),
            (None, None) if policies.iter().any(allows) => Ruling::Denied(None),
            (None, name) => Ruling::Allowed(name),
        }
    };
    let (holds, would_be) = (ruling(&[false]), ruling(&[false, true]));
    let differs = holds.is_allowed() != would_be.is_allowed();
    Decided { would_be: differs.then_some(would_be), ruling: holds, audited: matching(Action::Audit, &[false, true]) }
}

fn held(policies: &[AuthorizationPolicy]) -> Authorization {
    Authorization::of(policies, Subject { namespace: "a", labels: &BTreeMap::new(), root_namespace: "root" })
}

fn header(word: &str) -> Option<(HeaderName, &str)> {
    let (name, value) = word.split_once('=')?;
    let printable = value.bytes().all(|byte| byte >= 0x20 && byte != 0x7f);
    Some((name.parse().ok()?, value)).filter(|_| printable)
}

fn policy((number, line): (usize, &str)) -> Option<AuthorizationPolicy> {
    let mut words = line.split_ascii_whitespace();
    let word = words.next()?;
    let action = match word.trim_start_matches("try-") {
        "allow" => Action::Allow,
        "deny" => Action::Deny,
        "audit" => Action::Audit,
        _ => return None,
    };
    let (mut from, mut to, mut when) = (Source::default(), Operation::default(), Vec::new());
    for word in words {
        let (twin, word) = word.strip_prefix('!').map_or((false, word), |word| (true, word));
        let list = |text: &str| add(Match::default(), twin, Pattern::new(text));
        if let Some(text) = word.strip_prefix("p:") {
            from.principals = add(from.principals, twin, Pattern::new(text));
        } else if let Some(text) = word.strip_prefix("n:") {
            from.namespaces = add(from.namespaces, twin, Pattern::new(text));
        } else if let Some(text) = word.strip_prefix("s:") {
            when.push(Condition::SourceServiceAccount(list(text)));
        } else if let Some(text) = word.strip_prefix("i:") {
            from.ip_blocks = add(from.ip_blocks, twin, text.parse().ok()?);
        } else if let Some(text) = word.strip_prefix("d:") {
            when.push(Condition::DestinationIp(add(Match::default(), twin, text.parse().ok()?)));
        } else if let Some(text) = word.strip_prefix("h:") {
            to.hosts = add(to.hosts, twin, Pattern::new(text));
        } else if let Some(text) = word.strip_prefix("m:") {
            to.methods = add(to.methods, twin, Pattern::new(text));
        } else if let Some(text) = word.strip_prefix(':') {
            to.ports = add(to.ports, twin, text.parse().ok()?);
        } else if word.starts_with(['/', '*']) {
            to.paths = add(to.paths, twin, PathPattern::new(word).ok()?);
        } else {
            let (name, value) = header(word)?;
            when.push(Condition::Header(name, list(value)));
        }
    }
    let rules = vec![AuthorizationRule { from: vec![from], to: vec![to], when }];
    let (namespace, name) = ("a".to_owned(), number.to_string());
    let dry_run = word.starts_with("try-");
    Some(AuthorizationPolicy { namespace, name, selector: BTreeMap::new(), action, rules, dry_run })
}

fn add<T>(mut list: Match<T>, twin: bool, value: T) -> Match<T> {
    if twin { list.none.push(value) } else { list.any.push(value) }
    list
}
