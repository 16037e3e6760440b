//! One workload holds more connections than it has local ports, because captured connections are spread over an
//! owned range of addresses (IPv4) and over several listener ports (IPv6).

use sidestep_tests::{Config, Need, Pod, Sidestep, needs_capture};

use crate::ask::{held, listening};

const LOCAL_PORTS: &str = "32768 33767";
const CONNECTIONS: u64 = 5_000;

/// Holds more connections than there are local ports to destinations that differ in their address.
fn many_are_held(prefix: &str, listen: &str, destination: impl Fn(u32) -> String) {
    let (client, server) = Pod::pair();
    server.own_prefix(prefix);
    client.namespace.sysctl("net.ipv4.ip_local_port_range", LOCAL_PORTS);
    let _keep = listening(server.app().peer(&format!("keep --listen {listen}")));
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client).without_inbound());
    let destinations: Vec<String> = (1..=250).map(destination).collect();
    let hold = client.app().peer(&format!("hold {} --count {CONNECTIONS}", destinations.join(" ")));
    assert_eq!(held(&hold), (CONNECTIONS, None));
    sidestep.counted("outbound", "proxy", "default", CONNECTIONS);
    hold.succeed();
}

#[test]
fn five_thousand_connections_are_held_with_a_thousand_local_ports() {
    needs_capture!();
    many_are_held("10.88.0.0/16", "0.0.0.0:8080", |host| format!("10.88.0.{host}:8080"));
}

#[test]
fn five_thousand_ipv6_connections_are_held_with_a_thousand_local_ports() {
    needs_capture!(Need::Ipv6);
    many_are_held("fd88::/64", "[::]:8080", |host| format!("[fd88::{host:x}]:8080"));
}
