//! What each field means, its twin the other way round: by hand.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::any::held;
use crate::model::{Identity, PathForm, normalize};
use crate::policy::{
    Action, Asked, AuthorizationPolicy, AuthorizationRule, Call, Condition, Content, Decided, Match,
    Operation, PathPattern, Pattern, Prospect, Ruling, Source,
};

/// One call, from which the tables differ in one thing.
struct Told {
    source: Option<Identity>,
    client: &'static str,
    destination: &'static str,
    method: &'static str,
    host: Option<String>,
    path: String,
    headers: HeaderMap,
    opaque: bool,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            source: Some("spiffe://td/ns/shop/sa/web".parse().expect("an identity")),
            client: "10.0.0.1",
            destination: "10.0.0.9:80",
            method: "GET",
            host: Some("shop.example".to_owned()),
            path: "/".to_owned(),
            headers: HeaderMap::new(),
            opaque: false,
        }
    }
}

impl Told {
    fn decided(&self, policies: &[AuthorizationPolicy]) -> Decided {
        let Self { source, client, destination, method, host, path, headers, opaque } = self;
        let asked = Asked { method, host: host.as_deref(), path, headers };
        let call = Call {
            source: source.as_ref(),
            client: client.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            content: if *opaque { Content::Opaque } else { Content::Http(asked) },
        };
        held(policies).decide(&call)
    }

    /// Whether an `ALLOW` rule matches it, and a `DENY` rule.
    fn matched(&self, rule: &AuthorizationRule) -> [bool; 2] {
        let allow = self.decided(&[policy("p", Action::Allow, vec![rule.clone()])]).ruling;
        let deny = self.decided(&[policy("p", Action::Deny, vec![rule.clone()])]).ruling;
        [allow.is_allowed(), !deny.is_allowed()]
    }
}

fn policy(name: &str, action: Action, rules: Vec<AuthorizationRule>) -> AuthorizationPolicy {
    let (namespace, name) = ("a".to_owned(), name.to_owned());
    AuthorizationPolicy { namespace, name, selector: [].into(), action, rules, dry_run: false }
}

fn from(source: Source) -> AuthorizationRule {
    AuthorizationRule { from: vec![source], ..AuthorizationRule::default() }
}

fn to(operation: Operation) -> AuthorizationRule {
    AuthorizationRule { to: vec![operation], ..AuthorizationRule::default() }
}

fn when(condition: Condition) -> AuthorizationRule {
    AuthorizationRule { when: vec![condition], ..AuthorizationRule::default() }
}

/// A list of one, and a twin of one.
fn both<T: Clone>(value: &T) -> [Match<T>; 2] {
    let list = vec![value.clone()];
    [Match { any: list.clone(), none: Vec::new() }, Match { any: Vec::new(), none: list }]
}

/// The rule matches the call or does not, and with the twin it is the other way round.
#[track_caller]
fn check<T: Clone + std::fmt::Debug>(
    rule: impl Fn(Match<T>) -> AuthorizationRule,
    value: &T,
    call: &Told,
    holds: bool,
) {
    let [list, twin] = both(value);
    assert_eq!(call.matched(&rule(list)), [holds; 2], "{value:?}");
    assert_eq!(call.matched(&rule(twin)), [!holds; 2], "not {value:?}");
}

/// Patterns, a text, and whether it is meant.
const TEXTS: [(&str, &str, bool); 14] = [
    ("abc", "abc", true),
    ("abc", "ab", false),
    ("abc", "abcd", false),
    ("abc", "ABC", false),
    ("ab*", "ab", true),
    ("ab*", "abc", true),
    ("ab*", "xab", false),
    ("*bc", "bc", true),
    ("*bc", "abc", true),
    ("*bc", "bcd", false),
    ("*", "abc", true),
    ("a.c", "abc", false),
    ("a*c", "abc", false),
    ("a*c", "a*c", true),
];

#[test]
fn every_text_is_matched_exactly_by_its_ends_or_by_being_there() {
    for (pattern, text, holds) in TEXTS {
        let pattern = Pattern::new(pattern);
        let method: &'static str = text;
        let call = Told { method, ..Told::default() };
        check(|methods| to(Operation { methods, ..Operation::default() }), &pattern, &call, holds);

        let mut headers = HeaderMap::new();
        headers.insert("x-text", text.parse().expect("a value"));
        let call = Told { headers, ..Told::default() };
        let name = || HeaderName::from_static("x-text");
        check(|values| when(Condition::Header(name(), values)), &pattern, &call, holds);

        let call = Told { path: text.to_owned(), ..Told::default() };
        let paths = |Match { any, none }: Match<Pattern>| {
            let paths = |list: Vec<Pattern>| list.into_iter().map(PathPattern::Text).collect();
            to(Operation { paths: Match { any: paths(any), none: paths(none) }, ..Operation::default() })
        };
        check(paths, &pattern, &call, holds);

        if text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            let source = format!("spiffe://td/ns/{text}/sa/web").parse().ok();
            let call = Told { source, ..Told::default() };
            check(|namespaces| from(Source { namespaces, ..Source::default() }), &pattern, &call, holds);
            check(|list| when(Condition::SourceNamespace(list)), &pattern, &call, holds);
        }
    }
}

#[test]
fn a_principal_is_the_identity_without_its_scheme() {
    for (pattern, holds) in [
        ("td/ns/shop/sa/web", true),
        ("td/ns/shop/*", true),
        ("*/sa/web", true),
        ("*", true),
        ("spiffe://td/ns/shop/sa/web", false),
        ("td/ns/shop/sa/we", false),
        ("td/ns/shop/sa/web2", false),
        ("TD/ns/shop/sa/web", false),
    ] {
        let pattern = Pattern::new(pattern);
        let call = Told::default();
        check(|principals| from(Source { principals, ..Source::default() }), &pattern, &call, holds);
        check(|list| when(Condition::SourcePrincipal(list)), &pattern, &call, holds);
        // Plain text has no identity, so that no pattern means it.
        let nobody = Told { source: None, ..Told::default() };
        check(|principals| from(Source { principals, ..Source::default() }), &pattern, &nobody, false);
        check(|list| when(Condition::SourcePrincipal(list)), &pattern, &nobody, false);
    }
}

#[test]
fn a_service_account_is_one_of_a_namespace() {
    for (account, holds) in [("shop/web", true), ("shop/db", false), ("web", false), ("other/web", false)] {
        let account = Pattern::new(account);
        for (source, holds) in [(Told::default().source, holds), (None, false)] {
            let call = Told { source, ..Told::default() };
            check(
                |service_accounts| from(Source { service_accounts, ..Source::default() }),
                &account,
                &call,
                holds,
            );
            check(|list| when(Condition::SourceServiceAccount(list)), &account, &call, holds);
        }
    }
}

#[test]
fn networks_mean_addresses_of_their_own_family() {
    for (net, address, holds) in [
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.1", false),
        ("10.0.0.1/32", "10.0.0.1", true),
        ("10.0.0.1/32", "::ffff:10.0.0.1", true),
        ("::ffff:10.0.0.0/104", "10.0.0.1", true),
        ("10.1.2.3/8", "10.0.0.1", true),
        ("0.0.0.0/0", "fd00::1", false),
        ("::/0", "10.0.0.1", false),
        ("::/0", "fd00::1", true),
        ("fd00::/8", "fd12::1", true),
        ("fd00::1/128", "fd00::2", false),
    ] {
        let net: IpNet = net.parse().expect("a net");
        let call = Told { client: address, ..Told::default() };
        check(|ip_blocks| from(Source { ip_blocks, ..Source::default() }), &net, &call, holds);
        check(|remote_ip_blocks| from(Source { remote_ip_blocks, ..Source::default() }), &net, &call, holds);
        check(|nets| when(Condition::SourceIp(nets)), &net, &call, holds);
        check(|nets| when(Condition::RemoteIp(nets)), &net, &call, holds);
        let destination: &'static str =
            Box::leak(SocketAddr::new(address.parse().unwrap(), 80).to_string().into());
        let call = Told { destination, ..Told::default() };
        check(|nets| when(Condition::DestinationIp(nets)), &net, &call, holds);
    }
}

#[test]
fn no_header_says_where_a_connection_comes_from() {
    let net: IpNet = "192.0.2.0/24".parse().expect("a net");
    let mut headers = HeaderMap::new();
    headers.insert("x-forwarded-for", "192.0.2.1".parse().unwrap());
    headers.insert("forwarded", "for=192.0.2.1".parse().unwrap());
    let call = Told { headers, ..Told::default() };
    check(|remote_ip_blocks| from(Source { remote_ip_blocks, ..Source::default() }), &net, &call, false);
    check(|nets| when(Condition::RemoteIp(nets)), &net, &call, false);
}

#[test]
fn ports_are_those_of_the_workload() {
    for (port, holds) in [(80, true), (81, false), (0, false)] {
        check(|ports| to(Operation { ports, ..Operation::default() }), &port, &Told::default(), holds);
        check(|ports| when(Condition::DestinationPort(ports)), &port, &Told::default(), holds);
    }
}

#[test]
fn hosts_are_compared_without_case_and_port() {
    for (pattern, host, holds) in [
        ("shop.example", "shop.example", true),
        ("shop.example", "SHOP.Example", true),
        ("Shop.EXAMPLE", "shop.example", true),
        ("shop.example", "shop.example:8080", true),
        ("shop.example", "shop.example.", true),
        ("shop.example", "Shop.example.:80", true),
        ("shop.example", "shop.example:8080.evil", false),
        ("shop.example", "a.shop.example", false),
        ("*.example", "shop.example:80", true),
        ("*.EXAMPLE", "shop.example", true),
        ("*.example", "example", false),
        ("shop*", "SHOPPING.example", true),
        ("*", "anything", true),
        ("[fd00::1]", "[FD00::1]:80", true),
        ("fd00::1", "[fd00::1]", false),
    ] {
        let pattern = Pattern::new(pattern);
        let hosts = |hosts| to(Operation { hosts, ..Operation::default() });
        check(hosts, &pattern, &Told { host: Some(host.to_owned()), ..Told::default() }, holds);
        check(hosts, &pattern, &Told { host: None, ..Told::default() }, false);
    }
}

#[test]
fn values_of_a_header_are_compared_one_by_one() {
    let values = |values: &[&[u8]]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-role", http::HeaderValue::from_bytes(value).expect("a value"));
        }
        Told { headers, ..Told::default() }
    };
    for (pattern, these, holds) in [
        ("admin", &[&b"guest"[..], b"admin"][..], true),
        ("admin", &[b"guest,admin"], false),
        ("guest,admin", &[b"guest", b"admin"], false),
        ("guest*", &[b"admin", b"guest-1"], true),
        ("*1", &[b"admin", b"guest-1"], true),
        ("admin", &[b" admin\t"], true),
        ("admin*", &[b"admin\xff"], true),
        ("*\u{e4}", &["\u{e4}".as_bytes()], true),
        ("*", &[b""], true),
        ("*", &[], false),
        ("", &[b""], true),
        ("admin", &[], false),
    ] {
        let rule = |list| when(Condition::Header("X-Role".parse().expect("a name"), list));
        check(rule, &Pattern::new(pattern), &values(these), holds);
    }
}

#[test]
fn the_host_header_is_the_host_whichever_way_it_came() {
    let call = Told { host: Some("Secret.example".to_owned()), ..Told::default() };
    let rule = |list| when(Condition::Header(http::header::HOST, list));
    check(rule, &Pattern::new("secret.example"), &call, true);
}

#[test]
fn every_spelling_of_a_path_is_the_path() {
    use PathForm::{Base, DecodeAndMergeSlashes, MergeSlashes, None};
    let admin = PathPattern::new("/admin*").expect("a pattern");
    for (written, forms) in [
        ("/admin", &[None, Base, MergeSlashes, DecodeAndMergeSlashes][..]),
        ("/admin#fragment", &[None, Base, MergeSlashes, DecodeAndMergeSlashes]),
        ("/app/../admin", &[Base, MergeSlashes, DecodeAndMergeSlashes]),
        ("/app/%2E./admin", &[Base, MergeSlashes, DecodeAndMergeSlashes]),
        ("/app//../../admin", &[Base, MergeSlashes, DecodeAndMergeSlashes]),
        ("/%61dmin", &[Base, MergeSlashes, DecodeAndMergeSlashes]),
        ("\\admin", &[]),
        ("/app/..\\admin", &[Base, MergeSlashes, DecodeAndMergeSlashes]),
        ("//admin", &[MergeSlashes, DecodeAndMergeSlashes]),
        ("/%2Fadmin", &[DecodeAndMergeSlashes]),
        ("/%2561dmin", &[]),
        ("/ADMIN", &[]),
    ] {
        for form in [None, Base, MergeSlashes, DecodeAndMergeSlashes] {
            // What is ambiguous is answered with 400 and not decided.
            let Ok(path) = normalize(written, form) else { continue };
            let call = Told { path: path.into_owned(), ..Told::default() };
            let rule = |paths| to(Operation { paths, ..Operation::default() });
            check(rule, &admin, &call, forms.contains(&form));
        }
    }
}

#[test]
fn text_is_never_a_regular_expression() {
    for pattern in [".*", "^/admin$", "(/a+)+$", "/[a-z]+", "/admin|/", "\\Q/admin\\E", "/a?dmin", "%2e*"] {
        let rule = |paths| to(Operation { paths, ..Operation::default() });
        let path = PathPattern::new(pattern).expect("a pattern");
        for path_asked in ["/admin", "/a", "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"] {
            check(rule, &path, &Told { path: path_asked.to_owned(), ..Told::default() }, false);
        }
    }
}

#[test]
fn what_speaks_of_http_fails_closed_for_what_is_not() {
    let opaque = Told { opaque: true, ..Told::default() };
    let paths = Match { any: vec![PathPattern::new("/a").unwrap()], none: Vec::new() };
    let path = to(Operation { paths: paths.clone(), ..Operation::default() });
    let not =
        to(Operation { paths: Match { any: Vec::new(), none: paths.any.clone() }, ..Operation::default() });
    let header = when(Condition::Header(http::header::ACCEPT, both(&Pattern::Present)[1].clone()));
    for rule in [path, not, header] {
        assert_eq!(opaque.matched(&rule), [false, true], "{rule:?}");
    }
    // The rest of a rule that denies has to hold nevertheless.
    let elsewhere = Operation { paths, ports: both(&81)[0].clone(), ..Operation::default() };
    assert_eq!(opaque.matched(&to(elsewhere)), [false, false]);
}

#[test]
fn rules_are_alternatives_and_their_parts_are_not() {
    let source = |namespace: &str| Source {
        namespaces: both(&Pattern::new(namespace))[0].clone(),
        ..Source::default()
    };
    let operation = |port: u16| Operation { ports: both(&port)[0].clone(), ..Operation::default() };
    let condition = |port: u16| Condition::DestinationPort(both(&port)[0].clone());
    let rule = |from: &[&str], to: &[u16], when: &[u16]| AuthorizationRule {
        from: from.iter().map(|name| source(name)).collect(),
        to: to.iter().map(|&port| operation(port)).collect(),
        when: when.iter().map(|&port| condition(port)).collect(),
    };
    for (rule, holds) in [
        (rule(&["other", "shop"], &[81, 80], &[80]), true),
        (rule(&["other"], &[80], &[80]), false),
        (rule(&["shop"], &[81], &[80]), false),
        (rule(&["shop"], &[80], &[80, 81]), false),
        (rule(&[], &[], &[]), true),
    ] {
        assert_eq!(Told::default().matched(&rule), [holds; 2], "{rule:?}");
    }
}

#[test]
fn what_denies_comes_before_what_allows_and_the_first_rule_is_named() {
    let never = to(Operation { ports: both(&1)[0].clone(), ..Operation::default() });
    let always = AuthorizationRule::default();
    let call = Told::default();
    let said = |policies: &[AuthorizationPolicy]| match call.decided(policies).ruling {
        Ruling::Allowed(name) => (true, name.map(|name| name.to_string())),
        Ruling::Denied(name) => (false, name.map(|name| name.to_string())),
    };
    let named = |allowed, name: &str| (allowed, Some(name.to_owned()));
    let allow = policy("allow", Action::Allow, vec![never.clone(), always.clone(), always.clone()]);
    let other = policy("other", Action::Allow, vec![always.clone()]);
    let deny = policy("deny", Action::Deny, vec![never.clone(), always.clone()]);
    let nothing = policy("nothing", Action::Allow, Vec::new());
    let idle = policy("idle", Action::Deny, Vec::new());
    assert_eq!(said(&[]), (true, None));
    assert_eq!(said(&[idle]), (true, None));
    assert_eq!(said(std::slice::from_ref(&nothing)), (false, None));
    assert_eq!(said(&[nothing, allow.clone(), other]), named(true, "a/allow[1]"));
    assert_eq!(said(&[allow, deny]), named(false, "a/deny[1]"));
}

#[test]
fn what_is_only_tried_changes_nothing_and_is_told() {
    let always = AuthorizationRule::default();
    let tried = |action, rules| AuthorizationPolicy { dry_run: true, ..policy("tried", action, rules) };
    let call = Told::default();
    let would = |policies: &[AuthorizationPolicy]| {
        let decided = call.decided(policies);
        (decided.ruling.is_allowed(), decided.would_be.map(|ruling| ruling.is_allowed()))
    };
    let nothing = policy("nothing", Action::Allow, Vec::new());
    let all = policy("all", Action::Allow, vec![always.clone()]);
    assert_eq!(would(&[tried(Action::Deny, vec![always.clone()])]), (true, Some(false)));
    assert_eq!(would(&[tried(Action::Allow, Vec::new())]), (true, Some(false)));
    assert_eq!(would(&[tried(Action::Allow, Vec::new()), all]), (true, None));
    assert_eq!(would(&[tried(Action::Allow, vec![always.clone()]), nothing.clone()]), (false, Some(true)));
    assert_eq!(would(&[tried(Action::Deny, vec![always.clone()]), nothing]), (false, None));
    let audit = policy("audit", Action::Audit, vec![always]);
    let audited = call.decided(&[audit]).audited.map(|name| name.to_string());
    assert_eq!(audited.as_deref(), Some("a/audit[0]"));
}

#[test]
fn what_a_connection_will_say_is_waited_for_only_where_it_matters() {
    let ports = |port: u16| both(&port)[0].clone();
    let paths = Match { any: vec![PathPattern::new("/a").unwrap()], none: Vec::new() };
    let path = to(Operation { paths: paths.clone(), ..Operation::default() });
    let elsewhere = to(Operation { paths, ports: ports(81), ..Operation::default() });
    let always = AuthorizationRule::default();
    let prospect = |policies: &[AuthorizationPolicy]| {
        let known =
            held(policies).prospect(None, "10.0.0.1".parse().unwrap(), "10.0.0.9:80".parse().unwrap());
        match known {
            Prospect::Decided(decided) => Some(decided.ruling.is_allowed()),
            Prospect::ByContent => None,
        }
    };
    let allow = |rule: &AuthorizationRule| policy("allow", Action::Allow, vec![rule.clone()]);
    let deny = |rule: &AuthorizationRule| policy("deny", Action::Deny, vec![rule.clone()]);
    assert_eq!(prospect(&[allow(&path)]), None);
    assert_eq!(prospect(&[deny(&path)]), None);
    assert_eq!(prospect(&[allow(&elsewhere)]), Some(false));
    assert_eq!(prospect(&[deny(&elsewhere)]), Some(true));
    assert_eq!(prospect(&[allow(&path), allow(&always)]), Some(true));
    assert_eq!(prospect(&[deny(&path), deny(&always)]), Some(false));
    assert_eq!(prospect(&[deny(&path), allow(&elsewhere)]), Some(false));
    // What is told of what is let in needs a look as well.
    assert_eq!(prospect(&[policy("audit", Action::Audit, vec![path.clone()])]), None);
    assert_eq!(prospect(&[AuthorizationPolicy { dry_run: true, ..deny(&path) }]), None);
    assert_eq!(prospect(&[AuthorizationPolicy { dry_run: true, ..allow(&path) }]), None);
    assert_eq!(
        prospect(&[AuthorizationPolicy { dry_run: true, ..allow(&path) }, allow(&always)]),
        Some(true)
    );
}

#[test]
fn what_policies_call_cluster_local_is_the_meshs_own_domain() {
    let labels = std::collections::BTreeMap::new();
    let subject = crate::policy::Subject {
        trust_domain: "td",
        namespace: "a",
        labels: &labels,
        root_namespace: "root",
    };
    for (principal, denied) in [
        ("cluster.local/ns/shop/sa/web", true),
        ("cluster.local/ns/shop/*", true),
        ("td/ns/shop/sa/web", true),
        ("cluster.localhost/ns/shop/*", false),
        ("other/ns/shop/sa/web", false),
    ] {
        let source = Source {
            principals: Match { any: vec![Pattern::new(principal)], none: Vec::new() },
            ..Source::default()
        };
        let rule = AuthorizationRule { from: vec![source], ..AuthorizationRule::default() };
        let held = crate::policy::Authorization::of(
            &[AuthorizationPolicy { namespace: "a".to_owned(), ..policy("p", Action::Deny, vec![rule]) }],
            subject,
        );
        let web = "spiffe://td/ns/shop/sa/web".parse().expect("an identity");
        let call = Call {
            source: Some(&web),
            client: [10, 0, 0, 1].into(),
            destination: ([10, 0, 0, 9], 80).into(),
            content: Content::Opaque,
        };
        assert_eq!(!held.decide(&call).ruling.is_allowed(), denied, "{principal}");
    }
}
