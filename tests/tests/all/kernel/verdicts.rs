//! Verdicts in the kernel: which connection is let alone, captured or refused, and how a configuration changes it.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sidestep_tests::patience::{at_once, eventually};
use sidestep_tests::{Config, Need, Pod, Sidestep, leftovers, needs_capture};

use crate::ask::{connect, echo, eventually_dials, weathered};

fn outbound(pod: &Pod, default: &str, rules: &Value) -> Config {
    Config::of(pod).without_inbound().with("outbound", json!({ "default": default, "rules": rules }))
}

#[test]
fn a_denied_connect_fails_at_once() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let sidestep = Sidestep::sidecar(&client, &outbound(&client, "proxy", &json!([{ "deny": "10.77.0.2" }])));
    let dialled = connect(&client, &format!("{} --send hello", server.v4(8080)));
    assert_eq!(dialled.refused.as_deref(), Some("ECONNREFUSED"));
    assert!(Duration::from_micros(dialled.connect_us) < at_once(), "{dialled:?}");
    sidestep.counted("outbound", "deny", "rule", 1);
    let line = sidestep.log.outbound(server.v4(8080));
    assert_eq!((line.verdict.as_str(), line.reason.as_str()), ("deny", "rule"));
    assert_eq!(line.upstream, None, "nobody was dialled");
}

#[test]
fn a_denied_connect_fails_with_eperm_where_configured() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let rules = json!({ "default": "deny", "deny-with": "not-permitted" });
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client).without_inbound().with("outbound", rules));
    let dialled = connect(&client, &format!("{} --send hello", server.v4(8080)));
    assert_eq!(dialled.refused.as_deref(), Some("EPERM"));
    assert!(Duration::from_micros(dialled.connect_us) < at_once(), "{dialled:?}");
    sidestep.counted("outbound", "deny", "default", 1);
}

#[test]
fn every_way_to_connect_is_denied() {
    needs_capture!(Need::Ipv6, Need::Mptcp);
    let (client, server) = Pod::pair();
    let _echo4 = echo(&server, "four", server.v4(8080), "");
    let _echo6 = echo(&server, "six", server.v6(8080), "");
    let _sidestep = Sidestep::sidecar(&client, &outbound(&client, "deny", &json!([])));
    let (v4, v6) = (server.v4(8080), server.v6(8080));
    for line in [
        format!("{v4}"),
        format!("{v6}"),
        "[::ffff:10.77.0.2]:8080".to_owned(),
        format!("{v4} --how nonblocking"),
        format!("{v4} --how fast-open"),
        format!("{v6} --how fast-open"),
        format!("{v4} --transport mptcp"),
        format!("{v4} --bind 10.77.0.1:5000"),
        format!("{v4} --bind-device eth0"),
    ] {
        let dialled = connect(&client, &format!("{line} --send hello"));
        assert_eq!(dialled.refused.as_deref(), Some("ECONNREFUSED"), "{line}: {dialled:?}");
    }
}

#[test]
fn a_direct_connection_is_not_touched() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let sidestep =
        Sidestep::sidecar(&client, &outbound(&client, "proxy", &json!([{ "direct": "10.77.0.2" }])));
    assert_eq!(connect(&client, &format!("{} --send hello", server.v4(8080))).read, "right\nhello");
    sidestep.counted("outbound", "direct", "rule", 1);
    assert!(sidestep.log.lines().is_empty());
}

#[test]
fn the_longest_prefix_wins_whatever_the_order_of_the_rules() {
    needs_capture!();
    let (client, server) = Pod::pair();
    server.own_prefix("10.88.0.0/16");
    let _echo = echo(&server, "right", "0.0.0.0:8080".parse().unwrap(), "");
    let rules = json!([
        { "direct": "10.88.1.0/24" },
        { "deny": "10.88.0.0/16" },
        { "deny": "10.88.1.128/25" },
        { "proxy": "10.88.1.129" },
    ]);
    let sidestep = Sidestep::sidecar(&client, &outbound(&client, "proxy", &rules));
    let refused = |host: &str| connect(&client, &format!("{host}:8080 --send hello")).refused;
    assert_eq!(refused("10.88.2.1").as_deref(), Some("ECONNREFUSED"));
    assert_eq!(refused("10.88.1.1"), None);
    assert_eq!(refused("10.88.1.130").as_deref(), Some("ECONNREFUSED"));
    assert_eq!(refused("10.88.1.129"), None);
    let line = sidestep.log.outbound("10.88.1.129:8080".parse().unwrap());
    assert_eq!((line.verdict.as_str(), line.reason.as_str()), ("proxy", "rule"));
    sidestep.counted("outbound", "deny", "rule", 2);
    sidestep.counted("outbound", "direct", "rule", 1);
}

#[test]
fn the_longest_ipv6_prefix_wins() {
    needs_capture!(Need::Ipv6);
    let (client, server) = Pod::pair();
    server.own_prefix("fd88::/32");
    let _echo = echo(&server, "six", "[::]:8080".parse().unwrap(), "");
    let rules =
        json!([{ "deny": "fd88::/32" }, { "proxy": "fd88:0:1::/48" }, { "deny": "[fd88:0:1::2]:8080" }]);
    let sidestep = Sidestep::sidecar(&client, &outbound(&client, "direct", &rules));
    let refused = |host: &str| connect(&client, &format!("[{host}]:8080 --send hello")).refused;
    assert_eq!(refused("fd88:0:2::1").as_deref(), Some("ECONNREFUSED"));
    assert_eq!(refused("fd88:0:1::1"), None);
    assert_eq!(refused("fd88:0:1::2").as_deref(), Some("ECONNREFUSED"));
    sidestep.log.outbound("[fd88:0:1::1]:8080".parse().unwrap());
}

#[test]
fn rules_hold_for_their_ports_only() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let more = [8000, 8099, 8100].map(|port| format!("--listen {}", server.v4(port))).join(" ");
    let _echo = echo(&server, "right", server.v4(7999), &more);
    let rules = json!([{ "deny": "10.77.0.2:8000-8099" }, { "direct": "10.77.0.2:8050" }, { "direct": "10.77.0.0/24" }]);
    let _sidestep = Sidestep::sidecar(&client, &outbound(&client, "proxy", &rules));
    let refused = |port| connect(&client, &format!("{} --send hello", server.v4(port))).refused;
    assert_eq!(refused(7999), None);
    assert_eq!(refused(8000).as_deref(), Some("ECONNREFUSED"));
    assert_eq!(refused(8099).as_deref(), Some("ECONNREFUSED"));
    assert_eq!(refused(8100), None);
}

#[test]
fn everything_but_the_exceptions_is_denied_by_default() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), &format!("--listen {}", server.v4(8081)));
    let sidestep =
        Sidestep::sidecar(&client, &outbound(&client, "deny", &json!([{ "proxy": "10.77.0.2:8080" }])));
    assert_eq!(connect(&client, &format!("{} --send hello", server.v4(8080))).read, "right\nhello");
    assert!(connect(&client, &format!("{} --send hello", server.v4(8081))).refused.is_some());
    sidestep.counted("outbound", "deny", "default", 1);
}

#[test]
fn a_new_configuration_holds_without_a_restart() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let sidestep = Sidestep::sidecar(&client, &outbound(&client, "proxy", &json!([])));
    let dial = format!("{} --send hello", server.v4(8080));
    assert_eq!(connect(&client, &dial).read, "right\nhello");
    sidestep.configure(&outbound(&client, "proxy", &json!([{ "deny": "10.77.0.0/24:8080" }])));
    eventually_dials("the connection is denied", &client, &dial, |dialled| dialled.refused.is_some());
    sidestep.configure(&outbound(&client, "proxy", &json!([{ "direct": "10.77.0.0/24" }])));
    eventually_dials("the connection passes again", &client, &dial, |dialled| dialled.refused.is_none());
    sidestep.counted("outbound", "direct", "rule", 1);
}

#[test]
fn a_bad_new_configuration_keeps_the_old_one_and_says_why() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let sidestep = Sidestep::sidecar(&client, &outbound(&client, "proxy", &json!([{ "deny": "10.77.0.2" }])));
    sidestep.configure_with_text("outbound: { default: maybe }\n");
    eventually("the complaint names what it found", || {
        let log = sidestep.process.stderr() + &sidestep.process.stdout().join("\n");
        if log.contains("maybe") { Ok(()) } else { Err(log) }
    });
    let dialled = connect(&client, &format!("{} --send hello", server.v4(8080)));
    assert_eq!(dialled.refused.as_deref(), Some("ECONNREFUSED"), "the old rules must hold");
    assert_eq!(sidestep.process.status(), None, "a bad file must not end the instance");
    sidestep.configure(&outbound(&client, "proxy", &json!([])));
    let dial = format!("{} --send hello", server.v4(8080));
    eventually_dials("the next good file holds", &client, &dial, |dialled| dialled.read == "right\nhello");
}

#[test]
fn a_wrong_configuration_at_the_start_ends_with_78_and_attaches_nothing() {
    needs_capture!();
    let (pod, _other) = Pod::pair();
    let config = Config::of(&pod).with("outbund", json!({ "default": "proxy" }));
    let sidestep = Sidestep::start(&pod, pod.sidecar(), &["sidecar"], &config);
    let status = sidestep.process.ended();
    assert_eq!(status.code(), Some(78));
    let complaint = sidestep.process.stderr();
    assert!(complaint.contains("outbund") && complaint.contains("sidestep.yaml"), "{complaint}");
    leftovers::none(&pod);
}

#[test]
fn rules_can_be_changed_a_hundred_times_under_load() {
    needs_capture!();
    let (client, server) = Pod::pair();
    server.own_prefix("10.88.0.0/16");
    let _echo = echo(&server, "right", "0.0.0.0:8080".parse().unwrap(), "--report nothing");
    let config =
        |prefix: u8| outbound(&client, "proxy", &json!([{ "deny": format!("10.88.{prefix}.0/24") }]));
    let sidestep = Sidestep::sidecar(&client, &config(0));
    let storm = client.app().peer(&format!("storm {} --expect right", server.v4(8080)));
    for round in 1..=100 {
        sidestep.configure(&config(round));
    }
    let dial = "10.88.100.1:8080 --send hello --how nonblocking";
    eventually_dials("the last configuration holds", &client, dial, |dialled| {
        dialled.refused.as_deref() == Some("ECONNREFUSED")
    });
    weathered(&storm);
    assert!(sidestep.process.stop(Signal::SIGTERM).success());
}

#[test]
fn a_link_local_destination_passes_unless_it_is_denied() {
    needs_capture!(Need::Ipv6);
    let (mut client, mut server) = Pod::pair();
    client.add_address("fe80::1/64");
    server.add_address("fe80::2/64");
    let _echo = echo(&server, "near", "[::]:8080".parse().unwrap(), "");
    let links = client.namespace.ip(&["-o", "link", "show", "eth0"]);
    let zone = links.split(':').next().unwrap();
    let dial = format!("[fe80::2%{zone}]:8080 --send hello");
    for (default, rules) in [("deny", json!([])), ("proxy", json!([{ "deny": "fe80::/10" }]))] {
        let sidestep = Sidestep::sidecar(&client, &outbound(&client, default, &rules));
        let dialled = connect(&client, &dial);
        assert_eq!(dialled.refused.as_deref(), Some("ECONNREFUSED"), "{default} {rules}: {dialled:?}");
        assert!(sidestep.process.stop(Signal::SIGTERM).success());
    }
    let sidestep = Sidestep::sidecar(&client, &outbound(&client, "proxy", &json!([])));
    let dialled = connect(&client, &dial);
    assert_eq!(dialled.read, "near\nhello", "{dialled:?}");
    sidestep.counted("outbound", "direct", "link_local", 1);
}
