//! Routes as clusters print them, and what is refused of them.

use std::path::Path;
use std::time::Duration;

use http::{Method, StatusCode};

use crate::config::Resources;
use crate::routing::*;

fn resources(text: &str) -> Resources {
    let mut resources = Resources::default();
    resources.read(Path::new("f.yaml"), text);
    resources
}

fn route(text: &str) -> HttpRoute {
    let resources = resources(text);
    assert_eq!(resources.rejected(), [], "{text}");
    resources.routes().remove(0)
}

const HEAD: &str =
    "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: web, namespace: shop }\n";
const PARENT: &str = "  parentRefs: [ { group: \"\", kind: Service, name: web, port: 80 } ]\n";

fn with_rules(rules: &str) -> String {
    format!("{HEAD}spec:\n{PARENT}  rules:\n{rules}")
}

/// Checks why a route is rejected, without the file's name.
fn rejected(text: &str, message: &str) {
    let resources = resources(text);
    assert!(resources.routes().is_empty(), "{text}");
    let [rejected] = resources.rejected() else { panic!("{text}: {:?}", resources.rejected()) };
    assert_eq!(rejected.message.strip_prefix("f.yaml:"), Some(message), "{text}");
    assert_eq!(rejected.key.as_ref().map(ToString::to_string).as_deref(), Some("HTTPRoute shop/web"));
}

fn service(name: &str, namespace: &str, port: u16) -> Backing {
    Backing::Service(ServiceRef { service: ServiceName::new(name, namespace), port })
}

#[test]
fn what_a_cluster_prints_is_read() {
    let text = r#"
apiVersion: gateway.networking.k8s.io/v1beta1
kind: HTTPRoute
metadata:
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: |
      {"apiVersion":"gateway.networking.k8s.io/v1beta1"}
  creationTimestamp: "2024-03-01T00:00:10Z"
  generation: 1
  managedFields: [ { manager: kubectl, fieldsV1: { "f:spec": { "f:rules": {} } } } ]
  name: web
  namespace: shop
  resourceVersion: "1234"
  uid: 0d9b5e2c-0000-0000-0000-000000000000
spec:
  hostnames: [ "web.shop", "*.example.com" ]
  parentRefs:
  - group: gateway.networking.k8s.io
    kind: Gateway
    name: front
    sectionName: https
  - group: ""
    kind: Service
    name: web
    namespace: shop
    port: 80
  - group: core
    kind: Service
    name: web-all
  rules:
  - name: everything
    matches:
    - method: POST
      path:
        type: Exact
        value: /buy
      headers:
      - type: Exact
        name: Version
        value: "2"
      - name: version
        value: ignored
      queryParams:
      - name: debug
        value: "true"
    - path: { value: /cart/ }
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set: [ { name: x-set, value: a } ]
        add: [ { name: x-add, value: b } ]
        remove: [ x-gone ]
    - type: ResponseHeaderModifier
      responseHeaderModifier: { set: [ { name: x-by, value: "1" } ] }
    - type: URLRewrite
      urlRewrite: { hostname: web.internal, path: { type: ReplaceFullPath, replaceFullPath: /all } }
    - type: RequestMirror
      requestMirror: { backendRef: { name: audit, port: 9000 }, percent: 10 }
    - type: RequestMirror
      requestMirror: { backendRef: { name: audit, port: 9001 }, fraction: { numerator: 1, denominator: 1000 } }
    backendRefs:
    - group: ""
      kind: Service
      name: web-v1
      port: 80
      weight: 9
    - name: web-v2
      namespace: next
      port: 8080
      filters:
      - type: RequestHeaderModifier
        requestHeaderModifier: { set: [ { name: x-canary, value: "yes" } ] }
    - kind: Bucket
      group: storage.example
      name: dump
      weight: 0
    timeouts: { request: 10s, backendRequest: 500ms }
    retry: { codes: [ 502, 503 ], attempts: 3, backoff: 50ms }
  - filters:
    - type: RequestRedirect
      requestRedirect: { scheme: https, statusCode: 301, path: { type: ReplacePrefixMatch, replacePrefixMatch: "" } }
status:
  parents: []
"#;
    let found = route(text);
    assert_eq!((found.created, &*found.namespace, &*found.name), (Some(1_709_251_210), "shop", "web"));
    let hosts = [HostPattern::Exact("web.shop".to_owned()), HostPattern::Suffix(".example.com".to_owned())];
    assert_eq!(found.hostnames, hosts);
    let parent = |name: &str, port| Parent { service: ServiceName::new(name, "shop"), port };
    assert_eq!(found.parents, [parent("web", Some(80)), parent("web-all", None)]);
    let [rule, redirecting] = &found.rules[..] else { panic!("{:?}", found.rules) };
    let [exact, prefix] = &rule.matches[..] else { panic!("{:?}", rule.matches) };
    assert_eq!((&exact.path, &exact.method), (&PathMatch::Exact("/buy".to_owned()), &Some(Method::POST)));
    let [(name, value)] = &exact.headers[..] else { panic!("{:?}", exact.headers) };
    assert_eq!((name.as_str(), value.to_str().expect("text")), ("version", "2"));
    assert_eq!(exact.query, [("debug".to_owned(), "true".to_owned())]);
    assert_eq!(prefix.path, PathMatch::Prefix("/cart".to_owned()));
    let filters = &rule.filters;
    let edit = filters.request_headers.as_ref().expect("an edit");
    assert_eq!((edit.set.len(), edit.add.len(), edit.remove.len()), (1, 1, 1));
    assert!(filters.response_headers.is_some() && filters.redirect.is_none());
    let rewrite =
        Rewrite { hostname: Some("web.internal".to_owned()), path: Some(PathEdit::Full("/all".to_owned())) };
    assert_eq!(filters.rewrite, Some(rewrite));
    let mirror = |port, of, all| Mirror { to: service("audit", "shop", port), share: Share { of, all } };
    assert_eq!(filters.mirrors, [mirror(9000, 10, 100), mirror(9001, 1, 1000)]);
    let backends: Vec<_> = rule.backends.iter().map(|backend| (backend.to.clone(), backend.weight)).collect();
    assert_eq!(
        backends,
        [
            (service("web-v1", "shop", 80), 9),
            (service("web-v2", "next", 8080), 1),
            (Backing::Invalid("Bucket dump is no Service".to_owned()), 0),
        ]
    );
    assert!(rule.backends[1].filters.request_headers.is_some());
    let (request, attempt) = (Some(Duration::from_secs(10)), Some(Duration::from_millis(500)));
    assert_eq!(rule.timeouts, Timeouts { request, backend_request: attempt });
    let codes = vec![StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE];
    assert_eq!(
        rule.retry,
        Some(Retry { attempts: 3, codes, backoff: Duration::from_millis(50), explicit: true })
    );
    let redirect = redirecting.filters.redirect.as_ref().expect("a redirect");
    assert_eq!((redirect.scheme, redirect.status), (Some(Scheme::Https), StatusCode::MOVED_PERMANENTLY));
    assert_eq!(redirect.path, Some(PathEdit::Prefix(String::new())));
    assert_eq!(redirecting.matches, [Match::default()]);
}

#[test]
fn what_is_not_written_has_the_default_of_the_api() {
    let found = route(&format!("{HEAD}spec:\n{PARENT}"));
    assert_eq!(found.rules, [Rule { matches: vec![Match::default()], ..Rule::default() }]);
    let found = route(&with_rules(
        "  - timeouts: { request: 0s, backendRequest: 5s }\n    retry: {}\n    matches: [ { path: {} } ]\n",
    ));
    assert_eq!(
        found.rules[0].timeouts,
        Timeouts { request: None, backend_request: Some(Duration::from_secs(5)) }
    );
    assert_eq!(found.rules[0].retry, Some(Retry { explicit: true, ..Retry::default() }));
    assert_eq!(found.rules[0].matches, [Match::default()]);
}

#[test]
fn whom_a_route_is_for_is_refused_where_it_cannot_be_known() {
    for (parents, message) in [
        ("[]", " spec.parentRefs: expected at least one parent of kind Service and group \"\", found none"),
        (
            "[ { name: front } ]",
            " spec.parentRefs: expected at least one parent of kind Service and group \"\", found none",
        ),
        (
            "[ { kind: Service, name: web } ]",
            "5:17: spec.parentRefs[0].kind: expected kind Service and group \"\", found \"Service\"; nothing else can be a parent",
        ),
        (
            "[ { group: networking.istio.io, kind: ServiceEntry, name: web } ]",
            "5:17: spec.parentRefs[0].kind: expected kind Service and group \"\", found \"ServiceEntry\"; nothing else can be a parent",
        ),
        (
            "[ { group: \"\", kind: Service, name: web, sectionName: http } ]",
            "5:17: spec.parentRefs[0].sectionName: expected port instead, since names of ports are not known here, found sectionName",
        ),
        (
            "[ { group: \"\", kind: Service, name: web.shop } ]",
            "5:51: spec.parentRefs[0].name: expected a name of up to 63 characters a-z, 0-9 and -, found \"web.shop\"",
        ),
    ] {
        rejected(&format!("{HEAD}spec:\n  parentRefs: {parents}\n"), message);
    }
}

#[test]
fn what_a_rule_cannot_mean_is_rejected_with_its_place() {
    for (rule, message) in [
        (
            "matches: [ { path: { type: RegularExpression, value: /a.* } } ]",
            "7:32: spec.rules[0].matches[0].path.type: expected Exact or PathPrefix, found \"RegularExpression\": regular \
             expressions are not taken, list what they stand for instead",
        ),
        (
            "matches: [ { headers: [ { type: RegularExpression, name: a, value: b } ] } ]",
            "7:37: spec.rules[0].matches[0].headers[0].type: expected Exact, found \"RegularExpression\": regular expressions \
             are not taken, list what they stand for instead",
        ),
        (
            "matches: [ { path: { value: a } } ]",
            "7:16: spec.rules[0].matches[0].path.value: expected a path that begins with /, found \"a\"",
        ),
        (
            "matches: [ { path: { value: /a/../b } } ]",
            "7:16: spec.rules[0].matches[0].path.value: expected a path without /../, found \"/a/../b\"",
        ),
        (
            "matches: [ { method: get } ]",
            "7:26: spec.rules[0].matches[0].method: expected one of GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, \
             PATCH, found \"get\"",
        ),
        (
            "filters: [ { type: ExtensionRef, extensionRef: { group: a, kind: b, name: c } } ]",
            "7:24: spec.rules[0].filters[0].type: expected one of RequestHeaderModifier, ResponseHeaderModifier, \
             RequestRedirect, URLRewrite, RequestMirror, found \"ExtensionRef\"",
        ),
        (
            "filters: [ { type: CORS, cors: {} } ]",
            "7:24: spec.rules[0].filters[0].type: expected one of RequestHeaderModifier, ResponseHeaderModifier, \
             RequestRedirect, URLRewrite, RequestMirror, found \"CORS\"",
        ),
        (
            "filters: [ { type: URLRewrite } ]",
            "7:16: spec.rules[0].filters[0].type: expected the one field that goes with URLRewrite, found none or others",
        ),
        (
            "filters: [ { type: URLRewrite, urlRewrite: {} }, { type: URLRewrite, urlRewrite: {} } ]",
            "7:54: spec.rules[0].filters[1].type: expected each type once but for RequestMirror, found URLRewrite again",
        ),
        (
            "filters: [ { type: URLRewrite, urlRewrite: {} }, { type: RequestRedirect, requestRedirect: {} } ]",
            "7:54: spec.rules[0].filters[1].type: expected either a RequestRedirect or a URLRewrite, found both",
        ),
        (
            "filters: [ { type: RequestHeaderModifier, requestHeaderModifier: { remove: [ Transfer-Encoding ] } } ]",
            "7:82: spec.rules[0].filters[0].requestHeaderModifier.remove[0]: expected the name of a header field other than \
             those that frame a message or say where it goes, found \"Transfer-Encoding\"",
        ),
        (
            "filters: [ { type: RequestHeaderModifier, requestHeaderModifier: { set: [ { name: host, value: a } ] } } ]",
            "7:87: spec.rules[0].filters[0].requestHeaderModifier.set[0].name: expected a URLRewrite with hostname for the \
             host, found the field \"host\"",
        ),
        (
            "matches: [ { path: { value: /a } }, { path: { value: /b } } ]\n    filters: [ { type: URLRewrite, urlRewrite: { \
             path: { type: ReplacePrefixMatch, replacePrefixMatch: /c } } } ]",
            "8:16: spec.rules[0].filters[0].urlRewrite.path: expected exactly one match of type PathPrefix in a rule with \
             ReplacePrefixMatch, found others",
        ),
        (
            "filters: [ { type: RequestRedirect, requestRedirect: { statusCode: 200 } } ]",
            "7:72: spec.rules[0].filters[0].requestRedirect.statusCode: expected one of 301, 302, 303, 307, 308, found \"200\"",
        ),
        (
            "filters: [ { type: RequestRedirect, requestRedirect: {} } ]\n    backendRefs: [ { name: web, port: 80 } ]",
            "8:20: spec.rules[0].backendRefs: expected none beside a RequestRedirect, which sends nothing there, found some",
        ),
        (
            "backendRefs: [ { name: web, port: 80, filters: [ { type: RequestRedirect, requestRedirect: {} } ] } ]",
            "7:54: spec.rules[0].backendRefs[0].filters: expected no RequestRedirect at a backend, found one; write it at \
             the rule",
        ),
        (
            "backendRefs: [ { name: web } ]",
            "7:20: spec.rules[0].backendRefs[0].port: expected the port of the service, found none",
        ),
        (
            "backendRefs: [ { name: web, port: 80, weight: -1 } ]",
            "7:51: spec.rules[0].backendRefs[0].weight: expected a number from 0 to 1000000, found \"-1\"",
        ),
        (
            "filters: [ { type: RequestMirror, requestMirror: { backendRef: { name: a, port: 1 }, percent: 1, fraction: { \
             numerator: 1 } } } ]",
            "7:68: spec.rules[0].filters[0].requestMirror.percent: expected percent or fraction, found both",
        ),
        (
            "timeouts: { request: 1s, backendRequest: 2s }",
            "7:15: spec.rules[0].timeouts.backendRequest: expected no more than the 1s of timeouts.request, found 2s",
        ),
        (
            "timeouts: { request: 1.5s }",
            "7:26: spec.rules[0].timeouts.request: expected a duration such as 10s, 500ms or 1h30m (up to four whole numbers \
             of at most five digits), found \"1.5s\"",
        ),
        (
            "retry: { codes: [ 200 ] }",
            "7:23: spec.rules[0].retry.codes[0]: expected a status from 400 to 599, found \"200\"",
        ),
        (
            "sessionPersistence: {}",
            "7:5: spec.rules[0].sessionPersistence: expected one of name, matches, filters, backendRefs, timeouts, retry, \
             found unknown field \"sessionPersistence\"",
        ),
    ] {
        rejected(&with_rules(&format!("  - {rule}\n")), message);
    }
}
