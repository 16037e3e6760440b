//! An unmodified Envoy as the foreign proxy, with the configuration that is shipped: it finds the original
//! destination as it does behind iptables.

use std::path::Path;

use nix::sys::signal::Signal;
use sidestep_tests::need::envoy;
use sidestep_tests::sidestep::VERDICTS;
use sidestep_tests::{Config, Need, Place, Pod, Sidestep, eventually, leftovers, needs_capture};

use super::server::{Server, answer, eventually_succeeds};
use super::shipped;
use super::web::{PAGE, nginx};

/// Where the shipped configuration serves Envoy's own admin interface.
const ADMIN: &str = "http://127.0.0.1:15000";

/// Envoy as the README starts it, with what lets several of them live on one machine.
fn start(place: Place<'_>, binary: &Path) -> Server {
    let binary = binary.display().to_string();
    let server = Server::start(place, &binary, |_directory| {
        let file = shipped("deploy/envoy.yaml").display().to_string();
        let arguments =
            ["--config-path", &file, "--concurrency", "2", "--use-dynamic-base-id", "-l", "warning"];
        arguments.map(str::to_owned).into()
    });
    eventually_succeeds(place, "curl", &["-sSf".to_owned(), format!("{ADMIN}/ready")]);
    server
}

/// How many connections Envoy says that one of its listeners has relayed.
fn relayed(pod: &Pod, listener: &str) -> u64 {
    let stats = answer(pod.sidecar(), "curl", ["-sSf", &format!("{ADMIN}/stats")]);
    let name = format!("tcp.{listener}.downstream_cx_total: ");
    let count = stats.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
    count.unwrap_or_else(|| panic!("no {name} in {stats}"))
}

fn fetch(client: &Pod, server: &Pod) {
    for to in [server.v4(8080), server.v6(8080)] {
        let page = answer(client.app(), "curl", ["-sSfg", &format!("http://{to}/")]);
        assert_eq!(page, PAGE, "from {to}");
    }
}

#[test]
fn an_unmodified_envoy_relays_what_is_captured_for_it() {
    needs_capture!(Need::Envoy, Need::Tool("nginx"), Need::Tool("curl"), Need::Ipv6);
    let Some(binary) = envoy() else { return };
    let (client, server) = Pod::pair();
    let _nginx = nginx(&server);
    let _envoy = start(client.sidecar(), &binary);
    let sidestep = Sidestep::capture(&client, 15001, None, &Config::of(&client).without_inbound());
    fetch(&client, &server);
    assert_eq!(relayed(&client, "outbound"), 2);
    sidestep.counted("outbound", "proxy", "default", 2);
    assert!(sidestep.process.stop(Signal::SIGTERM).success());
    leftovers::none(&client);
    fetch(&client, &server);
    assert_eq!(relayed(&client, "outbound"), 2, "nothing is captured any more");
}

#[test]
fn an_unmodified_envoy_takes_inbound_connections() {
    needs_capture!(Need::Envoy, Need::Tool("nginx"), Need::Tool("curl"), Need::Ipv6);
    let Some(binary) = envoy() else { return };
    let (client, server) = Pod::pair();
    let _nginx = nginx(&server);
    let _envoy = start(server.sidecar(), &binary);
    let sidestep = Sidestep::capture(&server, 15001, Some(15006), &Config::of(&server));
    fetch(&client, &server);
    assert_eq!((relayed(&server, "inbound"), relayed(&server, "outbound")), (2, 0));
    assert_eq!(sidestep.metric(VERDICTS, &[("direction", "inbound"), ("verdict", "proxy")]), 2.0);
}

#[test]
fn connections_are_refused_while_envoy_does_not_listen() {
    needs_capture!(Need::Envoy, Need::Tool("nginx"), Need::Tool("curl"), Need::Ipv6);
    let Some(binary) = envoy() else { return };
    let (client, server) = Pod::pair();
    let _nginx = nginx(&server);
    let first = start(client.sidecar(), &binary);
    let sidestep = Sidestep::capture(&client, 15001, None, &Config::of(&client).without_inbound());
    fetch(&client, &server);
    drop(first);
    let url = format!("http://{}/", server.v4(8080));
    let refused = client.app().start("curl", ["-sS", &url]);
    // curl's own number for "failed to connect".
    assert_eq!(refused.end().code(), Some(7));
    sidestep.counted("outbound", "deny", "no_instance", 1);
    let _second = start(client.sidecar(), &binary);
    eventually("the second Envoy gets what is captured", || {
        let asked = client.app().start("curl", ["-sSf", &url]);
        if asked.end().success() { Ok(()) } else { Err(asked.stderr()) }
    });
    assert!(relayed(&client, "outbound") >= 1);
}
