//! What is said of policies that are valid, and of all that is wrong with those that are not.

use std::fs;

use crate::config::{Weight, lint};

/// What is said of one file, without its name; errors first in each line.
fn said(text: &str) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("f.yaml");
    fs::write(&file, text).expect("written");
    let found = lint(&[file]);
    let at = format!("{}/", directory.path().display());
    let shown = |error: String| error.replace(&at, "").replacen("f.yaml:", "", 1);
    found.findings.iter().map(|it| format!("{} {}", it.weight, shown(it.error.to_string()))).collect()
}

fn written(spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{ name: a, namespace: n }}\nspec: {spec}\n"
    )
}

#[test]
fn there_is_nothing_to_say_of_a_good_policy() {
    let good = "{ action: DENY, rules: [ { from: [ { source: { notPrincipals: [ td/ns/a/sa/b ] } } ], to: [ { operation: { \
                ports: [ \"80\" ], paths: [ /a, /b*, \"*.txt\", \"/c/{*}\" ], methods: [ GET ] } } ] } ] }";
    assert_eq!(said(&written(good)), Vec::<String>::new());
}

#[test]
fn everything_that_is_wrong_is_said_of_every_document() {
    let text = format!(
        "{}---\nkind: Pod\n---\n{}---\n{}",
        written("{ action: CUSTOM, rules: [ { from: [], to: [ {} ] } ] }"),
        written("{ rules: [ {} ] }"),
        written("{ rules: [ { to: [ { operation: { port: 80 } } ] } ] }"),
    );
    assert_eq!(
        said(&text),
        [
            "error 4:42: spec.rules[0].from: expected at least one entry, or no list, found an empty one",
            "error 4:52: spec.rules[0].to[0].operation: expected at least one field with a value, found none",
            "error 4:17: spec.action: expected ALLOW, DENY or AUDIT, since no other server is asked, found CUSTOM",
            "error 6:7: kind: expected one of AuthorizationPolicy, PeerAuthentication, found \"Pod\"",
            "error 10:11: metadata: expected every resource once, found n/a again (the other is in f.yaml)",
            "error 16:41: spec.rules[0].to[0].operation.port: expected one of hosts, notHosts, ports, notPorts, methods, \
             notMethods, paths, notPaths, found unknown field \"port\"",
        ]
    );
}

#[test]
fn what_a_policy_probably_does_not_mean_is_said() {
    let rule = |rule: &str| format!("{{ rules: [ {rule} ] }}");
    let operation = |fields: &str| rule(&format!("{{ to: [ {{ operation: {{ {fields} }} }} ] }}"));
    let source = |fields: &str| rule(&format!("{{ from: [ {{ source: {{ {fields} }} }} ] }}"));
    for (spec, message) in [
        ("{}".to_owned(), "spec: allows nothing"),
        ("{ action: DENY }".to_owned(), "spec: matches nothing, since it has no rules"),
        ("{ action: DENY, rules: [ {} ] }".to_owned(), "spec.rules[0]: matches everything, and denies it"),
        (operation("methods: [ get ]"), "methods: matches no usual method: \"get\""),
        (operation("paths: [ a ]"), "paths: matches nothing: every path begins with /, found \"a\""),
        (operation("paths: [ \"/a?b\" ]"), "paths: matches nothing: paths are compared without query"),
        (operation("notPaths: [ /a/../b ]"), "paths: matches nothing: paths are normalised"),
        (operation("hosts: [ \"a.*.b\" ]"), "hosts: matches a star itself"),
        (operation("ports: [ 80 ], notPorts: [ 81, 80 ]"), "ports: matches nothing: its not… twin"),
        (
            source("principals: [ \"spiffe://td/ns/a/sa/b\" ]"),
            "matches nothing: principals are written without",
        ),
        (
            source("ipBlocks: [ 10.0.0.1 ], notIpBlocks: [ 10.0.0.0/8 ]"),
            "ipBlocks: matches nothing: its not… twin",
        ),
        (source("remoteIpBlocks: [ 10.0.0.0/8 ]"), "no X-Forwarded-For is believed"),
        (
            operation("methods: [ GET ]").replace("{ rules", "{ action: DENY, rules"),
            "spec.rules[0].to[0].operation: is taken for matched where a connection is not HTTP",
        ),
    ] {
        let found = said(&written(&spec));
        let [only] = &found[..] else { panic!("{spec}: {found:?}") };
        assert!(only.starts_with("warning ") && only.contains(message), "{spec}: {only}");
    }
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let found = lint(&["/nonexistent/policies.yaml".into()]);
    assert_eq!((found.policies, found.count(Weight::Error)), (0, 1));
}
