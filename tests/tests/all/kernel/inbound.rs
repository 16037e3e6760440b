//! Inbound capture: the app behind an instance sees its real clients, whoever they are.

use std::net::SocketAddr;

use serde_json::json;
use sidestep_tests::{Config, Need, Pod, Sidestep, needs_capture};

use crate::ask::{accepted, connect, echo};

/// Connects to an app behind an instance and compares who the app sees with who really called.
fn real_client_is_seen(family: fn(&Pod, u16) -> SocketAddr, server_flags: &str, client_flags: &str) {
    let (client, server) = Pod::pair();
    let address = family(&server, 8080);
    let app = echo(&server, "app", address, server_flags);
    let sidestep = Sidestep::sidecar(&server, &Config::of(&server));
    let dialled = connect(&client, &format!("{address} --send hello {client_flags}"));
    assert_eq!(dialled.read, "app\nhello", "{dialled:?}");
    let (returned, peer, local) = accepted(&app);
    assert_eq!(Some(returned), dialled.local, "accept() must return the real client");
    assert_eq!(peer, dialled.local, "getpeername() must show the real client");
    assert_eq!(local, address, "the app must see the address that the client dialled");
    let line = sidestep.log.inbound(address);
    assert_eq!(line.source, dialled.local);
    assert_eq!((line.verdict.as_str(), line.upstream), ("proxy", Some(address)));
    sidestep.counted("inbound", "proxy", "rule", 1);
}

#[test]
fn the_app_sees_its_real_client() {
    needs_capture!();
    real_client_is_seen(Pod::v4, "", "");
}

#[test]
fn the_app_sees_its_real_client_over_ipv6() {
    needs_capture!(Need::Ipv6);
    real_client_is_seen(Pod::v6, "", "");
}

#[test]
fn an_mptcp_app_sees_its_real_client() {
    needs_capture!(Need::Mptcp);
    real_client_is_seen(Pod::v4, "--transport mptcp", "");
}

#[test]
fn an_mptcp_app_sees_its_real_client_over_ipv6() {
    needs_capture!(Need::Mptcp, Need::Ipv6);
    real_client_is_seen(Pod::v6, "--transport mptcp", "");
}

#[test]
fn an_mptcp_client_is_seen_by_an_mptcp_app() {
    needs_capture!(Need::Mptcp);
    real_client_is_seen(Pod::v4, "--transport mptcp", "--transport mptcp");
}

#[test]
fn an_app_that_listens_on_both_families_sees_an_ipv4_client_in_mapped_form() {
    needs_capture!(Need::Ipv6);
    let (client, server) = Pod::pair();
    let app = echo(&server, "dual", "[::]:8080".parse().unwrap(), "--stack dual");
    let sidestep = Sidestep::sidecar(&server, &Config::of(&server));
    let dialled = connect(&client, &format!("{} --send hello", server.v4(8080)));
    assert_eq!(dialled.read, "dual\nhello", "{dialled:?}");
    sidestep.log.inbound(server.v4(8080));
    let port = dialled.local.map_or(0, |local| local.port());
    let expected: SocketAddr = format!("[::ffff:10.77.0.1]:{port}").parse().unwrap();
    let (returned, peer, _) = accepted(&app);
    assert_eq!((returned, peer), (expected, Some(expected)));
}

#[test]
fn an_app_that_listens_on_any_address_is_reached_at_the_one_that_was_dialled() {
    needs_capture!();
    let (client, mut server) = Pod::pair();
    server.add_address("10.77.0.7/24");
    let app = echo(&server, "any", "0.0.0.0:8080".parse().unwrap(), "");
    let sidestep = Sidestep::sidecar(&server, &Config::of(&server));
    assert_eq!(connect(&client, "10.77.0.7:8080 --send hello").read, "any\nhello");
    sidestep.log.inbound("10.77.0.7:8080".parse().unwrap());
    assert_eq!(accepted(&app).2, "10.77.0.7:8080".parse().unwrap());
}

#[test]
fn two_instances_in_a_row_keep_the_real_client() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let app = echo(&server, "app", server.v4(8080), "");
    let outbound = Sidestep::sidecar(&client, &Config::of(&client));
    let inbound = Sidestep::sidecar(&server, &Config::of(&server));
    let dialled = connect(&client, &format!("{} --send hello", server.v4(8080)));
    assert_eq!(dialled.read, "app\nhello", "{dialled:?}");
    assert_eq!(dialled.peer, Some(server.v4(8080)));
    let seen = inbound.log.inbound(server.v4(8080)).source;
    assert_eq!(seen.map(|source| source.ip()), Some(client.v4(0).ip()));
    assert_eq!(Some(accepted(&app).0), seen);
    outbound.log.outbound(server.v4(8080));
}

#[test]
fn a_connection_to_itself_passes() {
    needs_capture!();
    let (_other, pod) = Pod::pair();
    let app = echo(&pod, "self", pod.v4(8080), "");
    let sidestep = Sidestep::sidecar(&pod, &Config::of(&pod));
    let dialled = connect(&pod, &format!("{} --send hello", pod.v4(8080)));
    assert_eq!(dialled.read, "self\nhello", "{dialled:?}");
    assert_eq!(Some(accepted(&app).0), dialled.local);
    sidestep.counted("inbound", "direct", "own_address", 1);
    assert!(sidestep.log.lines().is_empty());
}

#[test]
fn a_loopback_connection_passes() {
    needs_capture!();
    let (_other, pod) = Pod::pair();
    let _app = echo(&pod, "self", "127.0.0.1:8080".parse().unwrap(), "");
    let sidestep = Sidestep::sidecar(&pod, &Config::of(&pod));
    assert_eq!(connect(&pod, "127.0.0.1:8080 --send hello").read, "self\nhello");
    sidestep.counted("inbound", "direct", "loopback", 1);
    assert!(sidestep.log.lines().is_empty());
}

/// A port that `inbound` leaves out is reached without the instance, and its neighbour with it.
fn port_passes(inbound: serde_json::Value) {
    let (client, server) = Pod::pair();
    let _app = echo(&server, "app", server.v4(8080), &format!("--listen {}", server.v4(9090)));
    let sidestep = Sidestep::sidecar(&server, &Config::of(&server).with("inbound", inbound));
    for port in [9090, 8080] {
        let dialled = connect(&client, &format!("{} --send hello", server.v4(port)));
        assert_eq!(dialled.read, "app\nhello", "{dialled:?}");
    }
    sidestep.log.inbound(server.v4(8080));
    sidestep.counted("inbound", "direct", "port_not_captured", 1);
    assert_eq!(sidestep.log.lines().len(), 1);
}

#[test]
fn a_port_that_is_not_listed_passes() {
    needs_capture!();
    port_passes(json!({ "ports": [80, "8000-8100"] }));
}

#[test]
fn an_excluded_port_passes() {
    needs_capture!();
    port_passes(json!({ "ports": "all", "exclude": [9090] }));
}

#[test]
fn an_app_that_does_not_listen_becomes_a_reset_for_the_client() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let sidestep = Sidestep::sidecar(&server, &Config::of(&server));
    let dialled = connect(&client, &format!("{} --send hello", server.v4(8080)));
    assert!(dialled.refused.is_some() || dialled.broken.is_some(), "{dialled:?}");
    let line = sidestep.log.inbound(server.v4(8080));
    assert_eq!(line.error_side.as_deref(), Some("workload"), "{line:?}");
}

#[test]
fn an_address_that_is_local_without_being_listed_does_not_loop() {
    needs_capture!();
    let (client, server) = Pod::pair();
    server.own_prefix("10.99.0.0/16");
    let app = echo(&server, "app", "0.0.0.0:8081".parse().unwrap(), "");
    let sidestep = Sidestep::sidecar(&server, &Config::of(&server));
    let idle = sidestep.process.descriptors();
    let dialled = connect(&client, "10.99.1.1:8080 --send hello");
    assert!(dialled.refused.is_some() || dialled.broken.is_some(), "{dialled:?}");
    let open = sidestep.process.descriptors();
    assert!(open < idle + 50, "{open} descriptors, {idle} when idle");
    let dialled = connect(&client, "10.99.1.1:8081 --send hello");
    assert_eq!(dialled.read, "app\nhello", "{dialled:?}");
    assert_eq!(accepted(&app).1, dialled.local, "the app sees its real client");
}
