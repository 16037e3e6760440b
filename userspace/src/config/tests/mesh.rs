//! Identity, the mesh, and mutual TLS, as they are written.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use sidestep_abi::verdict::Verdict;

use super::{Config, config, parse, refused};
use crate::config::{CertificateSource, IdentitySettings, Unknown};
use crate::model::{Destination, OriginalDst, Reach};
use crate::policy::{MutualTlsMode, Permit, PlainText};

const IDENTITY: &str = "identity: { id: spiffe://cluster.local/ns/shop/sa/web, files: /run/certs }\n";

fn identity(text: &str) -> IdentitySettings {
    config(text).identity.expect("an identity")
}

fn resolve<'a>(config: &'a Config, text: &str) -> Destination<'a> {
    config.directory.resolve(OriginalDst(text.parse().expect("an address")))
}

#[test]
fn every_source_of_certificates_can_be_written() {
    let files = identity("identity: { files: /run/certs }\n");
    assert_eq!((files.id, files.source), (None, CertificateSource::Files(PathBuf::from("/run/certs"))));
    for written in ["/run/spire/agent.sock", "unix:///run/spire/agent.sock"] {
        let settings = identity(&format!("identity: {{ workload-api: \"{written}\" }}\n"));
        assert_eq!(settings.source, CertificateSource::WorkloadApi(PathBuf::from("/run/spire/agent.sock")));
    }
    for (lifetime, seconds) in [("", 86_400), (", lifetime: 2m", 120), (", lifetime: 365days", 365 * 86_400)]
    {
        let settings = identity(&format!(
            "identity: {{ id: spiffe://td/ns/a/sa/b, signing-ca: {{ directory: /ca{lifetime} }} }}\n"
        ));
        let (directory, lifetime) = (PathBuf::from("/ca"), Duration::from_secs(seconds));
        assert_eq!(settings.source, CertificateSource::SigningCa { directory, lifetime });
        assert_eq!(settings.id.expect("an identity").as_str(), "spiffe://td/ns/a/sa/b");
    }
    let others = identity(
        "identity:\n  files: /run/certs\n  federated: [ { trust-domain: partner.org, bundle: /p.pem } ]\n  \
         revocation-lists: [ /a.pem, /b.der ]\n",
    );
    assert_eq!(others.federated, [("partner.org".parse().expect("a domain"), PathBuf::from("/p.pem"))]);
    assert_eq!(others.revocation_lists, [PathBuf::from("/a.pem"), PathBuf::from("/b.der")]);
}

#[test]
fn an_identity_that_cannot_be_had_is_named_with_its_place() {
    for (text, message) in [
        (
            "identity: {}",
            "1:11: identity: expected exactly one of files, workload-api and signing-ca, found none",
        ),
        (
            "identity: { files: /a, signing-ca: { directory: /b } }",
            "1:11: identity: expected exactly one of files, workload-api and signing-ca, found files and signing-ca",
        ),
        (
            "identity: { signing-ca: { directory: /b } }",
            "1:11: identity: expected the field \"id\", since a signing CA says nothing of who the workload is, found none",
        ),
        (
            "identity:\n  id: spiffe://TD/ns/a/sa/b\n  files: /a\n",
            "2:7: identity.id: expected a trust domain of 1 to 255 lower-case letters, digits, dots, dashes and \
             underscores, found \"TD\"",
        ),
        (
            "identity:\n  id: web\n  files: /a\n",
            "2:7: identity.id: expected spiffe://<trust-domain>/ns/<namespace>/sa/<service-account>, found \"web\"",
        ),
        ("identity: { files: certs }", "1:20: identity.files: expected an absolute path, found \"certs\""),
        (
            "identity: { workload-api: tcp://127.0.0.1 }",
            "1:27: identity.workload-api: expected an absolute path, or unix:// in front of one, found \"tcp://127.0.0.1\"",
        ),
        (
            "identity: { signing-ca: { directory: /b, lifetime: 1m } }",
            "1:52: identity.signing-ca.lifetime: expected a duration from 2m to 365days, such as 24h, found \"1m\"",
        ),
        (
            "identity: { signing-ca: { lifetime: 1h } }",
            "1:27: identity.signing-ca: expected the field \"directory\", found none",
        ),
        (
            "identity:\n  id: spiffe://td/ns/a/sa/b\n  files: /a\n  federated: [ { trust-domain: td, bundle: /b } ]\n",
            "4:16: identity.federated[0].trust-domain: expected another trust domain, found td, that of our own identity",
        ),
        (
            "identity: { certificates: /a }",
            "1:13: identity.certificates: expected one of id, files, workload-api, signing-ca, federated, \
             revocation-lists, found unknown field \"certificates\"",
        ),
    ] {
        refused(text, message);
    }
}

#[test]
fn workloads_and_services_are_found_by_their_addresses() {
    let config = config(&format!(
        "{IDENTITY}
workloads:
  - {{ name: db-0, namespace: shop, service-account: db, addresses: [ 10.0.0.9, \"fd00::9\" ], tunnel: true, node: n1 }}
  - {{ name: old, namespace: shop, service-account: old, trust-domain: partner.org, addresses: [ 10.0.0.10 ] }}
services:
  - hostname: db.shop.svc.cluster.local
    addresses: [ 10.96.0.10 ]
    ports: [ {{ port: 5432, target-port: 15432 }}, {{ port: 80 }} ]
    endpoints: [ 10.0.0.9 ]
"
    ));
    for address in ["10.0.0.9:1", "[fd00::9]:1"] {
        let Destination::Workload(workload) = resolve(&config, address) else { panic!("{address}") };
        assert_eq!((workload.name.as_str(), workload.reach), ("db-0", Reach::Tunnel));
        assert_eq!(workload.identity.as_str(), "spiffe://cluster.local/ns/shop/sa/db");
        assert_eq!(workload.node.as_deref(), Some("n1"));
    }
    let Destination::Workload(old) = resolve(&config, "10.0.0.10:1") else { panic!("no workload") };
    assert_eq!((old.identity.as_str(), old.reach), ("spiffe://partner.org/ns/shop/sa/old", Reach::Plain));
    for (port, target) in [(5432, 15432), (80, 80)] {
        let destination = format!("10.96.0.10:{port}");
        let Destination::Service { service, port } = resolve(&config, &destination) else {
            panic!("{destination}")
        };
        assert_eq!((port.target_port, &service.endpoints[..]), (target, &[IpAddr::from([10, 0, 0, 9])][..]));
    }
}

#[test]
fn a_wrong_workload_or_service_is_named_with_its_place() {
    let workload = |rest: &str| {
        format!("{IDENTITY}workloads:\n  - {{ namespace: shop, service-account: db, {rest} }}\n")
    };
    let service = |rest: &str| format!("{IDENTITY}services:\n  - {{ addresses: [ 10.96.0.1 ], {rest} }}\n");
    let one = "{ name: a, namespace: n, service-account: s, addresses: [ 10.0.0.1 ] }";
    for (text, message) in [
        (workload("name: a"), "3:45: workloads[0]: expected the field \"addresses\", found none"),
        (workload("name: a, addresses: []"), "3:5: workloads[0].addresses: expected at least one address, found none"),
        (
            workload("name: A, addresses: [ 10.0.0.1 ]"),
            "3:51: workloads[0].name: expected a name of up to 253 characters a-z, 0-9, - and ., whose parts are neither \
             empty nor begin or end with -, found \"A\"",
        ),
        (
            workload("name: a, addresses: [ 0.0.0.0 ]"),
            "3:67: workloads[0].addresses[0]: expected the IP address of a host, such as 10.0.0.9 or fd00::9, found \
             \"0.0.0.0\"",
        ),
        (
            workload("name: a, addresses: [ 10.0.0.1 ], tunnel: perhaps"),
            "3:87: workloads[0].tunnel: expected one of true, false, found \"perhaps\"",
        ),
        (
            format!("{IDENTITY}workloads: [ {one}, {one} ]\n"),
            "2:86: workloads[1].name: expected every workload once, found n/a again",
        ),
        (
            format!("{IDENTITY}workloads: [ {one}, {} ]\n", one.replace("name: a", "name: b")),
            "2:86: workloads[1].addresses: expected an address that nothing else has, found 10.0.0.1, which belongs to \
             the workload n/a",
        ),
        (
            format!("workloads: [ {one} ]\n"),
            "1:14: workloads[0].trust-domain: expected a trust domain here or in identity.id, found none",
        ),
        (
            "workloads: [ { name: a, namespace: n, service-account: s, trust-domain: td, addresses: [ 10.0.0.1 ], tunnel: true } ]\n".to_owned(),
            "1:14: workloads[0].tunnel: expected the section identity, without which there are no tunnels, found none",
        ),
        (
            service("hostname: db..shop, ports: [], endpoints: []"),
            "3:43: services[0].hostname: expected a name of up to 253 characters a-z, 0-9, - and ., whose parts are \
             neither empty nor begin or end with -, found \"db..shop\"",
        ),
        (
            service("hostname: db, ports: [ { port: 0 } ], endpoints: []"),
            "3:64: services[0].ports[0].port: expected a port from 1 to 65535, found \"0\"",
        ),
        (
            service("hostname: db, ports: [ { port: 1 }, { port: 1 } ], endpoints: []"),
            "3:5: services[0].addresses: expected each port of db once, found 1 twice",
        ),
        (
            service("hostname: db, ports: [], endpoints: [ 10.96.0.1 ]"),
            "3:5: services[0].endpoints: expected addresses of workloads, found 10.96.0.1, the virtual address of db",
        ),
    ] {
        refused(&text, message);
    }
}

const NAMED: &str = "workloads:
  - { name: db-0, namespace: shop, service-account: db, addresses: [ 10.0.0.9, \"fd00::9\" ] }
services:
  - { hostname: db.shop, addresses: [ 10.96.0.10 ], ports: [ { port: 5432 }, { port: 80 } ], endpoints: [ 10.0.0.9 ] }
";

#[test]
fn rules_may_name_services_and_workloads() {
    let verdict = |rules: &str, destination: &str| {
        let config = config(&format!("{IDENTITY}{NAMED}outbound: {{ default: deny, rules: [ {rules} ] }}\n"));
        config.outbound.rules.decide(destination.parse().expect("an address")).0
    };
    for (rules, destination, expected) in [
        ("proxy: service:db.shop", "10.96.0.10:5432", Verdict::Proxy),
        ("proxy: service:db.shop", "10.96.0.10:80", Verdict::Proxy),
        ("proxy: service:db.shop", "10.96.0.10:81", Verdict::Deny),
        ("proxy: service:db.shop", "10.0.0.9:5432", Verdict::Deny),
        ("direct: [ \"service:db.shop:80-90\" ]", "10.96.0.10:80", Verdict::Direct),
        ("direct: [ \"service:db.shop:80-90\" ]", "10.96.0.10:5432", Verdict::Deny),
        ("proxy: 10.96.0.0/16, deny: service:db.shop", "10.96.0.10:81", Verdict::Deny),
        ("proxy: workload:shop/db-0", "10.0.0.9:1", Verdict::Proxy),
        ("proxy: workload:shop/db-0", "[fd00::9]:1", Verdict::Proxy),
        ("proxy: \"workload:shop/db-0:80\"", "[fd00::9]:81", Verdict::Deny),
    ] {
        let rules = rules.replace(", deny:", " }, { deny:");
        assert_eq!(verdict(&format!("{{ {rules} }}"), destination), expected, "{rules}: {destination}");
    }
}

#[test]
fn a_rule_whose_name_nobody_has_is_named_with_its_place() {
    for (target, message) in [
        ("service:db", "expected a service of the section services, found \"db\", which is none"),
        ("workload:n/db-0", "expected a workload of the section workloads, found n/db-0, which is none"),
        ("workload:db-0", "expected workload:NAMESPACE/NAME[:port[-port]], found \"workload:db-0\""),
        ("service:db.shop:81", "expected a port of the service db.shop, found none of 81"),
    ] {
        let text = format!("{NAMED}outbound: {{ rules: [ {{ deny: \"{target}\" }} ] }}\n");
        let text = format!("{IDENTITY}{text}");
        refused(&text, &format!("6:30: outbound.rules[0].deny: {message}"));
    }
}

#[test]
fn the_rest_of_the_mesh_has_its_defaults_and_its_words() {
    let defaults = config("{}");
    assert_eq!(defaults.tunnel.idle_timeout, Duration::from_secs(300));
    assert_eq!((defaults.outbound.unknown, defaults.identity), (Unknown::Relay, None));
    assert_eq!(defaults.mutual_tls.mode(80), MutualTlsMode::Permissive);
    let written = config("tunnel: { idle-timeout: 1s }\noutbound: { unknown: refuse }\n");
    assert_eq!(written.tunnel.idle_timeout, Duration::from_secs(1));
    assert_eq!(written.outbound.unknown, Unknown::Refuse);
    refused(
        "outbound: { unknown: drop }",
        "1:22: outbound.unknown: expected one of relay, refuse, found \"drop\"",
    );
}

/// A file of policies beside a configuration that names it.
fn with_policies(policies: &str, rest: &str) -> Result<Config, String> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("policies.yaml");
    std::fs::write(&path, policies).expect("written");
    let text = format!("{IDENTITY}policies: [ {} ]\n{rest}", path.display());
    parse(&text).map_err(|error| error.to_string().replace(&format!("{}/", directory.path().display()), ""))
}

const STRICT: &str = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
                      metadata: { name: default, namespace: shop }\nspec: { mtls: { mode: STRICT } }\n";

#[test]
fn policies_are_decided_for_our_own_namespace_and_labels() {
    let selecting = STRICT.replace("mtls:", "selector: { matchLabels: { app: web } }, mtls:");
    for (policies, rest, expected) in [
        (STRICT, "", MutualTlsMode::Strict),
        (&STRICT.replace("namespace: shop", "namespace: billing"), "", MutualTlsMode::Permissive),
        (&STRICT.replace("namespace: shop", "namespace: istio-system"), "", MutualTlsMode::Strict),
        (
            &STRICT.replace("namespace: shop", "namespace: mesh"),
            "root-namespace: mesh\n",
            MutualTlsMode::Strict,
        ),
        (&selecting, "", MutualTlsMode::Permissive),
        (&selecting, "labels: { app: web, version: 1 }\n", MutualTlsMode::Strict),
    ] {
        let config = with_policies(policies, rest).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.mutual_tls.mode(80), expected, "{policies}{rest}");
    }
}

#[test]
fn policies_of_both_kinds_are_had_from_files_and_directories() {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, folder) = (directory.path().join("peers.yaml"), directory.path().join("policies"));
    std::fs::create_dir(&folder).expect("a directory");
    std::fs::write(&file, STRICT).expect("written");
    let deny = "{ \"apiVersion\": \"security.istio.io/v1\", \"kind\": \"AuthorizationPolicy\", \"metadata\": { \"name\": \"none\", \
                \"namespace\": \"shop\" }, \"spec\": {} }";
    std::fs::write(folder.join("none.json"), deny).expect("written");
    let text = format!("{IDENTITY}policies: [ {}, {} ]\n", file.display(), folder.display());
    let both = config(&text);
    assert_eq!((both.mutual_tls.mode(80), both.authorization.is_empty()), (MutualTlsMode::Strict, false));
    let one = config(&format!("{IDENTITY}policies: {}\n", file.display()));
    assert_eq!((one.mutual_tls.mode(80), one.authorization.is_empty()), (MutualTlsMode::Strict, true));
    std::fs::write(folder.join("again.yaml"), deny).expect("written");
    let error = parse(&text).expect_err("it is there twice").to_string();
    assert!(error.contains("found shop/none again (the other is in"), "{error}");
}

#[test]
fn probes_are_let_through() {
    let probes = "inbound: { probes: [ { port: 8080, from: [ 10.0.0.0/8, \"fd00::/8\" ] } ] }\n";
    let mutual_tls = with_policies(STRICT, probes).unwrap_or_else(|error| panic!("{error}")).mutual_tls;
    assert_eq!(mutual_tls.plain_text(8080, IpAddr::from([10, 0, 0, 1])), PlainText::Admitted);
    assert_eq!(mutual_tls.plain_text(8080, IpAddr::from([11, 0, 0, 1])), PlainText::Refused);
    assert!(mutual_tls.may_admit_plain_text(8080) && !mutual_tls.may_admit_plain_text(80));
    refused(
        "inbound: { probes: [ { port: 8080 } ] }",
        "1:22: inbound.probes[0]: expected the field \"from\", or what the probe is (http, grpc or tcp), since all plain text \
         would pass from everywhere, found none",
    );
    refused(
        "inbound: { probes: [ { port: 8080, from: [ \"10.0.0.0/8:80\" ] } ] }",
        "1:44: inbound.probes[0].from[0]: expected CIDR without ports, found \"10.0.0.0/8:80\"",
    );
}

#[test]
fn what_a_probe_is_can_be_said() {
    let probing = |probe: &str| {
        let probes = format!("inbound: {{ probes: [ {probe} ] }}\n");
        let mutual_tls = with_policies(STRICT, &probes).unwrap_or_else(|error| panic!("{error}")).mutual_tls;
        match mutual_tls.plain_text(8080, "192.0.2.1".parse().expect("an address")) {
            PlainText::Probing(probed) => probed,
            other => panic!("{probe}: {other:?}"),
        }
    };
    let http = probing("{ port: 8080, http: /healthz }");
    assert_eq!(
        (http.permits("GET", "/healthz"), http.permits("GET", "/")),
        (Permit::Granted, Permit::Refused)
    );
    let both =
        probing("{ port: 8080, from: [ 192.0.2.0/24 ], http: [ /a, /b?c=d ], grpc: [ \"\", orders ] }");
    assert_eq!(both.permits("HEAD", "/b?c=d"), Permit::Granted);
    assert!(both.permits_check(b"\0\0\0\0\0"));
    assert!(probing("{ port: 8080, tcp: true }").is_touch_only());
    refused(
        "inbound: { probes: [ { port: 8080, http: healthz } ] }",
        "1:42: inbound.probes[0].http: expected a path such as /healthz, found \"healthz\"",
    );
}

#[test]
fn policies_without_an_identity_to_decide_for_are_refused() {
    refused(
        "policies: [ /a ]",
        "1:11: policies: expected the section identity, whose namespace these policies are for, found none",
    );
    refused(
        "identity: { files: /a }\npolicies: [ /a ]",
        "2:11: policies: expected identity.id, whose namespace these policies are for, found none",
    );
    let missing = parse(&format!("{IDENTITY}policies: [ /nonexistent ]")).expect_err("no file");
    assert_eq!(
        missing.to_string(),
        "/nonexistent: cannot read the configuration: No such file or directory (os error 2)"
    );
}

#[test]
fn what_is_wrong_with_a_policy_is_told_with_its_own_file() {
    let error = with_policies(&STRICT.replace("STRICT", "strict"), "").expect_err("not a mode");
    assert_eq!(
        error,
        "policies.yaml:4:23: spec.mtls.mode: expected one of UNSET, DISABLE, PERMISSIVE, STRICT, found \"strict\""
    );
}

#[test]
fn a_new_identity_waits_for_a_restart_with_all_that_was_decided_for_it() {
    let running = config(IDENTITY);
    let new = with_policies(STRICT, "").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(running.restart_only_changes(&new), Vec::<&str>::new());
    assert_eq!(new.clone().keeping(&running).mutual_tls.mode(80), MutualTlsMode::Strict);
    let other = config("identity: { id: spiffe://td/ns/a/sa/b, files: /run/certs }\n");
    assert_eq!(other.restart_only_changes(&new), ["identity"]);
    assert_eq!(new.keeping(&other), other);
}

#[test]
fn the_mesh_of_the_readme_is_valid() {
    let readme = include_str!("../../../../README.md");
    let (_, rest) = readme.split_once("```yaml mesh\n").expect("the README shows a mesh");
    let (text, _) = rest.split_once("```").expect("its block ends");
    // The files that it names are not on this machine: what they say is another test's.
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with("policies"))
        .fold(String::new(), |text, line| text + line + "\n");
    let config = config(&text);
    assert!(config.identity.is_some());
    let db = config.directory.workload("10.0.0.9".parse().unwrap()).expect("db is known");
    assert_eq!(db.identity.as_str(), "spiffe://cluster.local/ns/shop/sa/db");
}
