//! Files and what becomes of them.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use sidestep_abi::settings::OnFailure;
use sidestep_abi::verdict::{Reason, Verdict};

use super::*;
use crate::policy::{DenyWith, Rules};

mod edge;
mod http;
mod mesh;
mod routing;
mod shipped;
mod tracing;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("f.yaml"), text)
}

fn config(text: &str) -> Config {
    parse(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// Checks the message for a file, without the file's name.
fn refused(text: &str, message: &str) {
    let error = parse(text).expect_err(text).to_string();
    assert_eq!(error.strip_prefix("f.yaml:"), Some(message), "{text}");
}

#[test]
fn every_setting_can_be_written() {
    let config = config(
        r#"
workload: web
capture:
  mode: iptables
  on-failure: open
  cgroup-mount: /host/sys/fs/cgroup
  cgroup: /sys/fs/cgroup/pod
outbound:
  default: direct
  deny-with: not-permitted
  rules:
    - deny: 10.0.0.0/8:5432
    - direct: 169.254.169.254
    - proxy: [ "10.1.0.0/16", "[fd00::]/8:80-90" ]
inbound:
  ports: [ 80, "8000-8100", 15021 ]
  exclude: [ 8080 ]
relay: { connect-timeout: 1s, idle-timeout: 1h 30m, drain-timeout: 0s, max-connections: 500 }
admin: { address: "0.0.0.0:15021" }
access-log: { path: /var/log/access.json, format: json }
"#,
    );
    assert_eq!(config.workload.as_ref().map(WorkloadName::as_str), Some("web"));
    assert_eq!(
        config.capture,
        CaptureSettings {
            mode: CaptureMode::Iptables,
            on_failure: OnFailure::Open,
            cgroup_mount: Some(PathBuf::from("/host/sys/fs/cgroup")),
            cgroup: Some(PathBuf::from("/sys/fs/cgroup/pod")),
        }
    );
    assert_eq!(config.outbound.deny_with, DenyWith::NotPermitted);
    let rules = &config.outbound.rules;
    let decide = |text: &str| rules.decide(text.parse().expect("an address"));
    assert_eq!(rules.list.len(), 4);
    assert_eq!(decide("10.2.0.1:5432"), (Verdict::Deny, Reason::Rule));
    assert_eq!(decide("[fd00::1]:85"), (Verdict::Proxy, Reason::Rule));
    assert_eq!(decide("11.0.0.1:85"), (Verdict::Direct, Reason::Default));
    let inbound = config.inbound_ports();
    assert!(
        inbound.contains(80) && inbound.contains(8000) && !inbound.contains(8080) && !inbound.contains(81)
    );
    assert_eq!(
        config.relay,
        RelaySettings {
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(5_400),
            drain_timeout: Duration::ZERO,
            max_connections: 500,
        }
    );
    let address: SocketAddr = "0.0.0.0:15021".parse().expect("an address");
    assert_eq!(config.admin, Some(AdminSettings { address }));
    let log = config.access_log.expect("a log");
    assert_eq!(log.destination, LogDestination::File(PathBuf::from("/var/log/access.json")));
    assert_eq!(log.effective_format(), LogFormat::Json);
}

#[test]
fn what_is_not_written_has_its_default() {
    let defaults = Config::default();
    for text in [
        "{}",
        "---\n{}\n",
        "capture:\noutbound:\nrelay:\n",
        "outbound: { rules: [] }",
        "inbound: { ports: all }",
    ] {
        assert_eq!(config(text), defaults, "{text:?}");
    }
    assert_eq!(defaults.outbound.rules, Rules::only(Verdict::Proxy));
    assert_eq!(defaults.capture.on_failure, OnFailure::Closed);
    assert_eq!(defaults.inbound_ports(), InboundPorts::all());
    let log = config("access-log: {}").access_log.expect("a log");
    let (destination, format) = (LogDestination::Stdout, LogFormat::Auto);
    assert_eq!(log, AccessLogSettings { destination, format, fields: None, export: LogExport::Never });
}

#[test]
fn the_admin_port_is_never_captured() {
    for ports in ["all", "[80, 15021]", "15000-16000"] {
        let text = format!("admin: {{ address: \"[::]:15021\" }}\ninbound: {{ ports: {ports} }}\n");
        assert!(!config(&text).inbound_ports().contains(15021), "{ports}");
    }
}

#[test]
fn words_of_digits_stay_as_they_are_written() {
    assert_eq!(config("workload: 007").workload.expect("a name").as_str(), "007");
}

#[test]
fn a_wrong_value_is_named_with_its_place() {
    refused(
        "workload: Web",
        "1:11: workload: expected a name of 1 to 40 characters a-z, 0-9 and -, found \"Web\"",
    );
    refused("workload: [a]", "1:11: workload: expected a single value, found \"[a]\"");
    refused(
        "capture:\n  mode: nft\n",
        "2:9: capture.mode: expected one of ebpf, iptables, none, found \"nft\"",
    );
    refused("capture:\n  cgroup: pod\n", "2:11: capture.cgroup: expected an absolute path, found \"pod\"");
    refused(
        "outbound:\n  default: drop\n",
        "2:12: outbound.default: expected one of proxy, direct, deny, found \"drop\"",
    );
    refused(
        "inbound: { ports: some }",
        "1:19: inbound.ports: expected all, none, a port, a range or a list of ports, found \"some\"",
    );
    refused(
        "inbound: { ports: [80, 90-80] }",
        "1:24: inbound.ports[1]: expected a port range that goes up, found 90-80; write 80-90",
    );
    refused(
        "relay: { connect-timeout: 10 }",
        "1:27: relay.connect-timeout: expected a duration above zero and up to 365days, such as 10s, 500ms or 1h, found \"10\"",
    );
    refused(
        "relay: { idle-timeout: 0s }",
        "1:24: relay.idle-timeout: expected a duration above zero and up to 365days, such as 10s, 500ms or 1h, found \"0s\"",
    );
    refused(
        "relay: { drain-timeout: 400days }",
        "1:25: relay.drain-timeout: expected a duration up to 365days, such as 0s, 500ms or 1h, found \"400days\"",
    );
    refused(
        "relay: { max-connections: 0 }",
        "1:27: relay.max-connections: expected a number from 1 to 1000000, found \"0\"",
    );
    refused(
        "admin: { address: 15021 }",
        "1:19: admin.address: expected an IP address and a port above zero, such as 0.0.0.0:15021 or [::]:15021, found \"15021\"",
    );
    refused(
        "access-log: { path: log }",
        "1:21: access-log.path: expected an absolute path, or - for standard output, found \"log\"",
    );
}

#[test]
fn a_wrong_rule_is_named_with_its_place() {
    refused(
        "outbound:\n  rules:\n  - deny: 10.0.0/8\n",
        "3:11: outbound.rules[0].deny: expected CIDR[:port[-port]], found \"10.0.0/8\"",
    );
    refused(
        "outbound:\n  rules:\n  - deny: [10.0.0.0/8, 10.0.0.1/8]\n",
        "3:24: outbound.rules[0].deny[1]: expected a network address, found host bits in \"10.0.0.1/8\"; write \
         10.0.0.0/8 for the network or 10.0.0.1 for the host",
    );
    refused(
        "outbound:\n  rules:\n  - drop: 10.0.0.0/8\n",
        "3:5: outbound.rules[0]: expected one of proxy, direct, deny, found \"drop\"",
    );
    refused(
        "outbound:\n  rules:\n  - deny: 10.0.0.0/8\n    direct: 10.0.0.1\n",
        "4:5: outbound.rules[0].deny: expected one verdict per entry of the list, found \"direct: 10.0.0.1\" in the same one",
    );
    refused(
        "outbound:\n  rules:\n  - deny:\n",
        "3:5: outbound.rules[0].deny: expected CIDR[:port[-port]], service:HOSTNAME[:port[-port]] or \
         workload:NAMESPACE/NAME[:port[-port]] or a list of CIDR[:port[-port]], service:HOSTNAME[:port[-port]] or \
         workload:NAMESPACE/NAME[:port[-port]], found nothing",
    );
    refused(
        "outbound:\n  rules: 10.0.0.0/8\n",
        "2:10: outbound.rules: expected a list, found \"10.0.0.0/8\"",
    );
}

#[test]
fn rules_that_contradict_each_other_are_named_with_both_places() {
    refused(
        "outbound:\n  rules:\n  - deny: 10.0.0.0/8\n  - direct: [10.0.0.1, 10.0.0.0/8]\n",
        "4:24: outbound.rules[1].direct[1]: rules contradict each other: `deny 10.0.0.0/8` and `direct 10.0.0.0/8` match \
         the same connections and neither is more specific; remove one or narrow its prefix or ports (the other is in line 3)",
    );
}

#[test]
fn unknown_repeated_and_missing_fields_are_refused() {
    refused(
        "wrkload: web",
        "1:1: wrkload: expected one of workload, labels, identity, capture, outbound, inbound, relay, tunnel, http, \
         workloads, services, policies, root-namespace, originate-tls, serve-tls, explicit, routes, rate-limits, node, admin, access-log, \
         tracing, found unknown field \"wrkload\"",
    );
    refused(
        "outbound:\n  value: red\n",
        "2:3: outbound.value: expected one of default, deny-with, unknown, rules, found unknown field \"value\"",
    );
    refused("workload: a\nworkload: b\n", "2:1: expected every field once, found \"workload\" again");
    refused("admin: {}", "1:8: admin: expected the field \"address\", found none");
    refused("outbound: 5", "1:11: outbound: expected a mapping of settings, found \"5\"");
}

#[test]
fn what_is_no_settings_at_all_is_refused() {
    for empty in ["", "# nothing yet\n", "---\n"] {
        refused(empty, " expected settings, found an empty file; write {} to have all defaults");
    }
    refused("just text\n", "1:1: expected a mapping of settings, found \"just text\"");
    refused("--- {}\n--- {}\n", "2:5: expected one YAML document, found several");
    refused("workload: !name a\n", "1:17: expected a value without a tag, found \"a\"");
}

#[test]
fn nesting_and_repetition_are_bounded() {
    let deep = format!("workload: {}", "[".repeat(100_000));
    parse(&deep).expect_err("too deep");
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (from, to) in ('a'..'j').zip('b'..) {
        bomb.push_str(&format!(
            "{to}: &{to} [*{from}, *{from}, *{from}, *{from}, *{from}, *{from}, *{from}, *{from}]\n"
        ));
    }
    parse(&bomb).expect_err("too many aliases");
}

#[test]
fn a_message_cannot_drive_a_terminal() {
    let error = parse("\"\\e[31mred\": 1\n").expect_err("unknown field").to_string();
    assert!(!error.contains('\u{1b}'), "{error:?}");
}

#[test]
fn a_hundred_thousand_rules_can_be_written() {
    let mut text = "outbound:\n  rules:\n".to_owned();
    for number in 0..100_000_u32 {
        let [_, a, b, c] = number.to_be_bytes();
        text.push_str(&format!("  - deny: 10.{a}.{b}.{c}\n"));
    }
    assert_eq!(config(&text).outbound.rules.list.len(), 100_000);
}

#[test]
fn files_that_cannot_be_a_configuration_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("sidestep.yaml");
    let error = load(&path).expect_err("no file").to_string();
    assert!(
        error.ends_with(
            "sidestep.yaml: cannot read the configuration: No such file or directory (os error 2)"
        ),
        "{error}"
    );

    std::fs::write(&path, b"workload: web\n# \xff\n").expect("written");
    let error = load(&path).expect_err("not text").to_string();
    assert!(
        error.ends_with("sidestep.yaml:2:1: expected UTF-8 text, found other bytes in this line"),
        "{error}"
    );

    let sparse = File::create(&path).expect("a file");
    sparse.set_len(FILE_LIMIT + 1).expect("a long file");
    assert!(matches!(load(&path), Err(ConfigError::TooLarge { limit: FILE_LIMIT, .. })));
}

#[test]
fn changes_that_need_a_restart_are_named_and_left_out() {
    let running = config("workload: web\nadmin: { address: 0.0.0.0:15021 }\n");
    let new = config(
        "workload: api\ncapture: { mode: none, on-failure: open }\nadmin: { address: 0.0.0.0:15022 }\n\
         outbound: { default: deny }\ninbound: { ports: 80 }\nrelay: { idle-timeout: 1s }\naccess-log: {}\n",
    );
    assert_eq!(
        running.restart_only_changes(&new),
        ["workload", "capture.mode", "capture.on-failure", "admin.address"]
    );
    let effective = new.clone().keeping(&running);
    assert!(running.restart_only_changes(&effective).is_empty());
    assert_eq!(
        (effective.outbound, effective.relay, effective.access_log),
        (new.outbound, new.relay, new.access_log)
    );
}
