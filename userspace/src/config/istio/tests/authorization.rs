//! `AuthorizationPolicy`.

use http::HeaderName;

use super::{read, wrong};
use crate::policy::{
    Action, AuthorizationPolicy, AuthorizationRule, Condition, Match, Operation, PathPattern, Pattern,
    Source, TemplatePart,
};

/// A policy `n/a` with this specification, written in one line or several.
fn written(spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{ name: a, namespace: n }}\nspec: {spec}\n"
    )
}

fn policy(text: &str) -> AuthorizationPolicy {
    let (_, policies) = read(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let [policy] = <[_; 1]>::try_from(policies).unwrap_or_else(|found| panic!("{found:?}"));
    policy
}

fn rules(rules: &str) -> Vec<AuthorizationRule> {
    policy(&written(&format!("{{ rules: {rules} }}"))).rules
}

fn patterns(any: &[&str], none: &[&str]) -> Match<Pattern> {
    let read = |list: &[&str]| list.iter().map(|text| Pattern::new(text)).collect();
    Match { any: read(any), none: read(none) }
}

fn nets(any: &[&str], none: &[&str]) -> Match<ipnet::IpNet> {
    let read = |list: &[&str]| list.iter().map(|text| text.parse().expect("a network")).collect();
    Match { any: read(any), none: read(none) }
}

#[test]
fn what_a_cluster_prints_is_read() {
    let text = r#"
apiVersion: security.istio.io/v1beta1
kind: AuthorizationPolicy
metadata:
  annotations:
    istio.io/dry-run: "true"
    kubectl.kubernetes.io/last-applied-configuration: |
      {"apiVersion":"security.istio.io/v1beta1"}
  creationTimestamp: "2024-03-01T00:00:10Z"
  generation: 1
  name: httpbin
  namespace: foo
  resourceVersion: "1234"
  uid: 0d9b5e2c-0000-0000-0000-000000000000
spec:
  selector:
    matchLabels:
      app: httpbin
  action: DENY
  rules:
  - from:
    - source:
        principals: ["cluster.local/ns/default/sa/curl"]
    - source:
        namespaces: ["test"]
    to:
    - operation:
        methods: ["GET"]
        paths: ["/info*"]
    - operation:
        methods: ["POST"]
        paths: ["/data"]
    when:
    - key: request.headers[X-Token]
      values: ["admin*"]
  - {}
status: {}
"#;
    let operation = |method: &str, path: &str| Operation {
        methods: patterns(&[method], &[]),
        paths: Match { any: vec![PathPattern::Text(Pattern::new(path))], none: Vec::new() },
        ..Operation::default()
    };
    let rule = AuthorizationRule {
        from: vec![
            Source { principals: patterns(&["cluster.local/ns/default/sa/curl"], &[]), ..Source::default() },
            Source { namespaces: patterns(&["test"], &[]), ..Source::default() },
        ],
        to: vec![operation("GET", "/info*"), operation("POST", "/data")],
        when: vec![Condition::Header(HeaderName::from_static("x-token"), patterns(&["admin*"], &[]))],
    };
    assert_eq!(
        policy(text),
        AuthorizationPolicy {
            namespace: "foo".to_owned(),
            name: "httpbin".to_owned(),
            selector: [("app".to_owned(), "httpbin".to_owned())].into(),
            action: Action::Deny,
            rules: vec![rule, AuthorizationRule::default()],
            dry_run: true,
        }
    );
}

#[test]
fn every_field_of_a_source_and_its_twin_is_read() {
    let found = rules(
        "[ { from: [ { source: { principals: [ a* ], notPrincipals: [ \"*b\" ], namespaces: [ \"*\" ], notNamespaces: [ c ], \
         ipBlocks: [ 10.0.0.1, 10.1.2.3/8 ], notIpBlocks: [ \"::ffff:10.0.0.1\" ], remoteIpBlocks: [ \"fd00::/8\" ], \
         notRemoteIpBlocks: [ \"fd00::1\" ] } }, { source: { serviceAccounts: [ web, shop/db ], notServiceAccounts: [ x/y ] } } ] } ]",
    );
    let expected = [
        Source {
            principals: patterns(&["a*"], &["*b"]),
            namespaces: patterns(&["*"], &["c"]),
            ip_blocks: nets(&["10.0.0.1/32", "10.0.0.0/8"], &["10.0.0.1/32"]),
            remote_ip_blocks: nets(&["fd00::/8"], &["fd00::1/128"]),
            ..Source::default()
        },
        Source { service_accounts: patterns(&["n/web", "shop/db"], &["x/y"]), ..Source::default() },
    ];
    assert_eq!(found[0].from, expected);
}

#[test]
fn every_field_of_an_operation_and_its_twin_is_read() {
    let found = rules(
        "[ { to: [ { operation: { hosts: [ a.shop ], notHosts: [ \"*.b\" ], ports: [ \"80\", 81 ], notPorts: [ \"82\" ], \
         methods: [ GET ], notMethods: [ P* ], paths: [ /a, \"/b/{*}/c/{**}/\" ], notPaths: [ \"/d*\" ] } } ] } ]",
    );
    let segment = |text: &str| TemplatePart::Segment(text.into());
    let template = vec![segment("b"), TemplatePart::One, segment("c"), TemplatePart::Many, segment("")];
    let text = |text: &str| PathPattern::Text(Pattern::new(text));
    let expected = Operation {
        hosts: patterns(&["a.shop"], &["*.b"]),
        ports: Match { any: vec![80, 81], none: vec![82] },
        methods: patterns(&["GET"], &["P*"]),
        paths: Match { any: vec![text("/a"), PathPattern::Template(template)], none: vec![text("/d*")] },
    };
    assert_eq!(found[0].to, [expected]);
}

#[test]
fn every_condition_and_its_twin_is_read() {
    let condition = |key: &str, value: &str, not: &str| {
        format!("{{ key: \"{key}\", values: [ \"{value}\" ], notValues: [ \"{not}\" ] }}")
    };
    let found = rules(&format!(
        "[ {{ when: [ {}, {}, {}, {}, {}, {}, {}, {} ] }} ]",
        condition("source.ip", "10.0.0.0/8", "10.1.0.0/16"),
        condition("remote.ip", "10.0.0.0/8", "10.1.0.0/16"),
        condition("source.namespace", "shop*", "shop-test"),
        condition("source.principal", "*", "a"),
        condition("source.serviceAccount", "web", "shop/db"),
        condition("destination.ip", "10.0.0.9", "10.0.0.8"),
        condition("destination.port", "80", "81"),
        condition("request.headers[User-Agent]", "Mozilla/*", "*bot"),
    ));
    let ips = || nets(&["10.0.0.0/8"], &["10.1.0.0/16"]);
    let expected = [
        Condition::SourceIp(ips()),
        Condition::RemoteIp(ips()),
        Condition::SourceNamespace(patterns(&["shop*"], &["shop-test"])),
        Condition::SourcePrincipal(patterns(&["*"], &["a"])),
        Condition::SourceServiceAccount(patterns(&["n/web"], &["shop/db"])),
        Condition::DestinationIp(nets(&["10.0.0.9/32"], &["10.0.0.8/32"])),
        Condition::DestinationPort(Match { any: vec![80], none: vec![81] }),
        Condition::Header(HeaderName::from_static("user-agent"), patterns(&["Mozilla/*"], &["*bot"])),
    ];
    assert_eq!(found[0].when, expected);
}

#[test]
fn what_is_not_written_is_as_in_istio() {
    for text in [written("{}"), written(""), written("null").replace("spec: null\n", "")] {
        let found = policy(&text);
        assert_eq!((found.action, found.rules, found.dry_run), (Action::Allow, Vec::new(), false), "{text}");
    }
    assert_eq!(policy(&written("{ rules: [] }")).rules, []);
    let dry = |value: &str| {
        let annotation = format!("namespace: n, annotations: {{ istio.io/dry-run: {value} }}");
        policy(&written("{}").replace("namespace: n", &annotation)).dry_run
    };
    assert_eq!(["\"true\"", "true", "\"false\"", "null"].map(dry), [true, true, false, false]);
}

#[test]
fn what_is_no_policy_is_named_with_its_place() {
    let rules = |rules: &str| written(&format!("\n  rules:\n{rules}"));
    for (text, message) in [
        (
            written("{ rule: [] }"),
            "4:9: spec.rule: expected one of selector, targetRef, targetRefs, action, provider, rules, found unknown field \"rule\"",
        ),
        (
            written("{ action: deny }"),
            "4:17: spec.action: expected one of ALLOW, DENY, AUDIT, CUSTOM, found \"deny\"",
        ),
        (
            written("{ provider: { name: x } }"),
            "4:19: spec.provider: expected a provider for the action CUSTOM only, found one",
        ),
        (
            written("{ selector: { matchLabels: { app: \"w*\" } } }"),
            "4:41: spec.selector.matchLabels: expected a label and its value, without *, found \"app\": \"w*\"",
        ),
        (
            written("{ selector: {}, targetRef: { kind: Gateway } }"),
            "4:34: spec.targetRef: expected it or a selector, found both",
        ),
        (
            rules("  - form: []\n"),
            "6:5: spec.rules[0].form: expected one of from, to, when, found unknown field \"form\"",
        ),
        (
            rules("  - {}\n  - from: []\n"),
            "7:11: spec.rules[1].from: expected at least one entry, or no list, found an empty one",
        ),
        (
            rules("  - to: []\n"),
            "6:9: spec.rules[0].to: expected at least one entry, or no list, found an empty one",
        ),
        (
            rules("  - from: [ {} ]\n"),
            "6:13: spec.rules[0].from[0].source: expected at least one field with a value, found none",
        ),
        (
            rules("  - from:\n    - source: { principals: [] }\n"),
            "7:7: spec.rules[0].from[0].source: expected at least one field with a value, found none",
        ),
        (
            rules("  - to: [ { operation: {} } ]\n"),
            "6:11: spec.rules[0].to[0].operation: expected at least one field with a value, found none",
        ),
        (
            rules("  - from: [ { source: { principals: [ \"\" ] } } ]\n"),
            "6:39: spec.rules[0].from[0].source.principals[0]: expected text that is not empty, such as exact, prefix*, \
             *suffix or *, found none",
        ),
        (
            rules("  - from: [ { source: { ipBlocks: [ 10.0.0.0/33 ] } } ]\n"),
            "6:37: spec.rules[0].from[0].source.ipBlocks[0]: expected an IP address or CIDR, such as 10.0.0.9 or 10.0.0.0/8, \
             found \"10.0.0.0/33\"",
        ),
        (
            rules("  - from: [ { source: { serviceAccounts: [ \"*\" ] } } ]\n"),
            "6:44: spec.rules[0].from[0].source.serviceAccounts[0]: expected a service account, <name> or \
             <namespace>/<name>, found \"*\"",
        ),
        (
            rules("  - from: [ { source: { serviceAccounts: [ a ], namespaces: [ b ] } } ]\n"),
            "6:13: spec.rules[0].from[0].source: expected serviceAccounts, or principals and namespaces, found both",
        ),
        (
            rules("  - to: [ { operation: { ports: [ http ] } } ]\n"),
            "6:35: spec.rules[0].to[0].operation.ports[0]: expected a port from 1 to 65535, found \"http\"",
        ),
        (
            rules("  - to: [ { operation: { paths: [ \"/a/{*}b\" ] } } ]\n"),
            "6:35: spec.rules[0].to[0].operation.paths[0]: expected braces in paths only as {*} or {**} alone between \
             slashes, found \"/a/{*}b\"",
        ),
        (
            rules("  - to: [ { operation: { paths: [ \"/{**}/a/{*}\" ] } } ]\n"),
            "6:35: spec.rules[0].to[0].operation.paths[0]: expected {**} to be the last operator of a path, found another \
             behind it in \"/{**}/a/{*}\"",
        ),
        (
            rules("  - when: [ { key: source.name, values: [ a ] } ]\n"),
            "6:20: spec.rules[0].when[0].key: expected one of source.ip, remote.ip, source.namespace, source.principal, \
             source.serviceAccount, destination.ip, destination.port, request.headers[name], found \"source.name\"",
        ),
        (
            rules("  - when: [ { key: source.ip, values: [], notValues: [] } ]\n"),
            "6:13: spec.rules[0].when[0]: expected values or notValues, found neither",
        ),
        (
            rules("  - when: [ { key: source.ip, notValues: [ 10.0.0.1, here ] } ]\n"),
            "6:54: spec.rules[0].when[0].notValues[1]: expected an IP address or CIDR, such as 10.0.0.9 or 10.0.0.0/8, \
             found \"here\"",
        ),
        (
            written("{}").replace("namespace: n", "namespace: n, annotations: { istio.io/dry-run: \"yes\" }"),
            "3:69: metadata.annotations.istio.io/dry-run: expected \"true\" or \"false\", found \"yes\"",
        ),
        (
            written("{ action: AUDIT }")
                .replace("namespace: n", "namespace: n, annotations: { istio.io/dry-run: \"true\" }"),
            "3:69: metadata.annotations.istio.io/dry-run: expected a policy that allows or denies, found one that only audits",
        ),
    ] {
        assert_eq!(wrong(&text), Some(format!("f.yaml:{message}")), "{text}");
    }
}

#[test]
fn what_cannot_be_done_here_is_an_error_where_it_is_meant_for_the_workload() {
    let rules = |rules: &str| written(&format!("{{ rules: [ {rules} ] }}"));
    for (text, message) in [
        (
            written("{ action: CUSTOM, provider: { name: x } }"),
            "4:17: spec.action: expected ALLOW, DENY or AUDIT, since no other server is asked, found CUSTOM",
        ),
        (
            written("{ targetRefs: [ { kind: Gateway } ] }"),
            "4:21: spec.targetRefs: expected a selector, since gateways and waypoints are not known here, found a target",
        ),
        (
            rules("{ from: [ { source: { notRequestPrincipals: [ a ] } } ] }"),
            "4:62: spec.rules[0].from[0].source.notRequestPrincipals: expected principals, since tokens of end users are not \
             known here, found it",
        ),
        (
            rules("{ when: [ { key: \"request.auth.claims[iss]\", values: [ a ] } ] }"),
            "4:35: spec.rules[0].when[0].key: expected one of source.ip, remote.ip, source.namespace, source.principal, \
             source.serviceAccount, destination.ip, destination.port, request.headers[name], found \"request.auth.claims[iss]\"",
        ),
        (
            rules("{ when: [ { key: \"request.headers[:authority]\", values: [ a ] } ] }"),
            "4:35: spec.rules[0].when[0].key: expected the name of a header, found \":authority\"",
        ),
        (
            rules("{ to: [ { operation: { notHosts: [ \"a.shop:8080\" ] } } ] }"),
            "4:26: spec.rules[0].to[0].operation.hosts: expected hosts without ports, which are not compared, found one \
             with a port",
        ),
    ] {
        assert_eq!(wrong(&text), Some(format!("f.yaml:{message}")), "{text}");
        assert_eq!(wrong(&text.replace("namespace: n", "namespace: other")), None, "{text}");
    }
}
