//! Questions and their answers.

use std::fs;
use std::path::Path;

use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

const POLICIES: &str = "\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: admin, namespace: shop }
spec: { action: DENY, rules: [ { to: [ { operation: { ports: [ 8080 ], paths: [ \"/admin*\" ] } } ] } ] }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: near, namespace: shop }
spec: { rules: [ { from: [ { source: { ipBlocks: [ 10.0.0.0/8 ] } }, { source: { namespaces: [ shop ] } } ] } ] }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: tried, namespace: shop, annotations: { istio.io/dry-run: \"true\" } }
spec: { action: DENY, rules: [ { from: [ { source: { principals: [ td/ns/shop/sa/old ] } } ] } ] }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: shop }
spec: { selector: { matchLabels: {} }, mtls: { mode: PERMISSIVE } }
";

const MESH: &str = "\
identity: { id: spiffe://td/ns/shop/sa/db, files: /run/certs }
workloads: [ { name: web-0, namespace: shop, service-account: web, addresses: [ 10.0.0.7 ], tunnel: true } ]
services: [ { hostname: web.shop, addresses: [ 10.96.0.7 ], ports: [ { port: 80, target-port: 8080 } ], endpoints: [ 10.0.0.7 ] } ]
outbound: { unknown: refuse, rules: [ { deny: 10.0.0.0/8 }, { proxy: 10.0.0.7 }, { direct: 192.0.2.1 } ] }
inbound: { exclude: [ 9090 ] }
";

fn ask(line: &str) -> Result<Answer> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("policies.yaml");
    fs::write(&file, POLICIES).expect("written");
    let text = format!("{MESH}policies: {}\n", file.display());
    let config = Config::parse(Path::new("f.yaml"), &text).unwrap_or_else(|error| panic!("{error}"));
    let line = format!("sidestep explain --config f.yaml {line}");
    match Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{error}")).command {
        Command::Explain(args) => answer(&config, args),
        other => panic!("{other:?}"),
    }
}

/// Hook, verdict, reason, policy and tier of an answer.
fn check(line: &str, hook: &str, verdict: &str, reason: &str, policy: Option<&str>, tier: Option<&str>) {
    let answer = ask(line).unwrap_or_else(|error| panic!("{line}: {error:#}"));
    let found = (answer.hook, answer.verdict, answer.reason, answer.policy.as_deref(), answer.tier);
    assert_eq!(found, (hook, verdict, reason, policy, tier), "{line}\n{answer}");
}

#[test]
fn what_becomes_of_a_call_is_said_with_what_says_so() {
    let (near, admin) = (Some("shop/near[0]"), Some("shop/admin[0]"));
    check("--from shop/web --to :5432", "proxy", "proxy", "tunnel", near, Some("tunnel"));
    check("--from spiffe://td/ns/dev/sa/x --to :5432", "proxy", "deny", "policy", Some("none"), None);
    check(
        "--from spiffe://td/ns/dev/sa/x --from 10.0.0.8 --to :5432",
        "proxy",
        "proxy",
        "tunnel",
        near,
        Some("tunnel"),
    );
    check("--from 10.0.0.8 --to 10.0.0.9:5432", "proxy", "proxy", "default", near, Some("relay"));
    check("--from 11.0.0.8 --to 10.0.0.9:5432", "sk_lookup", "deny", "policy", Some("none"), None);
    check(
        "--from 11.0.0.8 --to 10.0.0.9:9090",
        "sk_lookup",
        "direct",
        "port_not_captured",
        None,
        Some("direct"),
    );
    check("--from shop/web --to :8080 --path /admin/../x", "proxy", "proxy", "tunnel", near, Some("http"));
    check("--from shop/web --to :8080 --path /a/../admin?x", "proxy", "deny", "policy", admin, None);
    check("--from shop/web --to :8080 --path /%00", "proxy", "deny", "policy", None, None);
}

#[test]
fn what_a_connection_of_ours_meets_is_said_too() {
    check("--to 127.0.0.1:80", "connect4", "direct", "loopback", None, Some("direct"));
    check("--to 10.0.0.8:80", "connect4", "deny", "rule", None, None);
    check("--to 10.0.0.7:80", "proxy", "proxy", "rule", None, Some("tunnel"));
    check("--to 192.0.2.1:80", "connect4", "direct", "rule", None, Some("direct"));
    check("--to [2001:db8::1]:80", "proxy", "deny", "unknown_destination", None, None);
    check("--to 192.0.2.2:80", "proxy", "deny", "unknown_destination", None, None);
    check("--to web.shop:81", "connect4", "deny", "rule", None, None);
}

#[test]
fn what_is_only_tried_is_told() {
    let answer = ask("--from shop/old --to :5432").expect("an answer");
    assert_eq!((answer.verdict, answer.would_be.as_deref()), ("proxy", Some("denied:shop/tried[0]")));
}

#[test]
fn a_question_that_cannot_be_answered_is_refused() {
    for (line, message) in [
        ("--from shop/web --from shop/db --to :80", "expected at most one identity and one address"),
        ("--from shop/web --to web.shop:80", "expected an address of the workload itself"),
        ("--to :80", "expected --from, or an address in front of :80"),
        ("--to db.shop:80", "expected a hostname of services, found \"db.shop\""),
    ] {
        let error = ask(line).expect_err(line).to_string();
        assert!(error.contains(message), "{error}");
    }
}
