//! What is not TCP: never captured, but not a way around the rules either.

use serde_json::{Value, json};
use sidestep_tests::{Config, Event, Need, Place, Pod, Sidestep, needs_capture};

use crate::ask::udp;

fn outbound(pod: &Pod, rules: Value) -> Config {
    Config::of(pod).without_inbound().with("outbound", rules)
}

/// The errno that sending a datagram failed with.
fn sent(from: Place<'_>, line: &str) -> Option<String> {
    let sender = from.peer(&format!("udp-send {line} --send hello"));
    sender.event("what came of a datagram", |event| match event {
        Event::Datagram { error, .. } => Some(error),
        _ => None,
    })
}

/// The errno that making a socket failed with.
fn made(from: Place<'_>, line: &str) -> Option<String> {
    let maker = from.peer(&format!("socket {line}"));
    maker.event("what came of a socket", |event| match event {
        Event::Made { error } => Some(error),
        _ => None,
    })
}

#[test]
fn a_denied_datagram_is_refused_however_it_is_sent() {
    needs_capture!(Need::Ipv6);
    let (client, server) = Pod::pair();
    let rules = json!({ "rules": [{ "deny": "10.77.0.2:5353" }, { "deny": "[fd77::2]:5353" }] });
    let sidestep = Sidestep::sidecar(&client, &outbound(&client, rules));
    let (v4, v6) = (server.v4(5353).to_string(), server.v6(5353).to_string());
    for mode in ["connected", "unconnected"] {
        for address in [&v4, &v6, "[::ffff:10.77.0.2]:5353"] {
            let error = sent(client.app(), &format!("{address} --mode {mode}"));
            assert_eq!(error.as_deref(), Some("ECONNREFUSED"), "{mode} to {address}");
        }
    }
    sidestep.counted("outbound", "deny", "rule", 6);
    let line = sidestep.log.outbound(server.v4(5353));
    assert_eq!((line.verdict.as_str(), line.reason.as_str()), ("deny", "rule"));
    assert_eq!(line.more["protocol"], "udp");
}

#[test]
fn a_denied_datagram_is_refused_with_eperm_where_configured() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let rules = json!({ "default": "deny", "deny-with": "not-permitted" });
    let sidestep = Sidestep::sidecar(&client, &outbound(&client, rules));
    for mode in ["connected", "unconnected"] {
        let error = sent(client.app(), &format!("{} --mode {mode}", server.v4(5353)));
        assert_eq!(error.as_deref(), Some("EPERM"), "{mode}");
    }
    sidestep.counted("outbound", "deny", "default", 2);
}

#[test]
fn datagrams_that_rules_let_pass_pass_where_the_rest_is_denied() {
    needs_capture!();
    for verdict in ["proxy", "direct"] {
        for mode in ["connected", "unconnected"] {
            let (client, server) = Pod::pair();
            let rules = json!({ "default": "deny", "rules": [{ verdict: "10.77.0.2:5353" }] });
            let sidestep = Sidestep::sidecar(&client, &outbound(&client, rules));
            assert_eq!(udp(&client, &server, mode), "udp hello", "{verdict} {mode}");
            sidestep.counted("outbound", "direct", "udp", 1);
        }
    }
}

#[test]
fn datagrams_to_loopback_and_of_the_instance_itself_pass_where_everything_is_denied() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let sidestep = Sidestep::sidecar(&client, &outbound(&client, json!({ "default": "deny" })));
    let echo = |pod: &Pod, address: &str| {
        crate::ask::listening(pod.app().peer(&format!("udp-echo --name udp --listen {address}")))
    };
    let _far = echo(&server, "10.77.0.2:5353");
    let _near = [echo(&client, "127.0.0.1:5353"), echo(&client, "10.77.0.1:5353")];
    for mode in ["connected", "unconnected"] {
        assert_eq!(sent(client.sidecar(), &format!("10.77.0.2:5353 --mode {mode}")), None, "{mode}");
        for own in ["127.0.0.1:5353", "10.77.0.1:5353"] {
            assert_eq!(sent(client.app(), &format!("{own} --mode {mode}")), None, "{mode} to {own}");
        }
    }
    sidestep.counted("outbound", "direct", "instance", 2);
    sidestep.counted("outbound", "direct", "udp", 4);
}

#[test]
fn a_flood_of_denied_datagrams_does_not_fill_the_log() {
    needs_capture!();
    const FLOOD: u64 = 20_000;
    // Lines of as many seconds as this may take on a busy machine, and far below the flood.
    const LINES: usize = 5_000;
    let (client, server) = Pod::pair();
    let sidestep = Sidestep::sidecar(&client, &outbound(&client, json!({ "default": "deny" })));
    let flood = format!("{} --mode unconnected --count {FLOOD}", server.v4(5353));
    assert_eq!(sent(client.app(), &flood).as_deref(), Some("ECONNREFUSED"));
    sidestep.counted("outbound", "deny", "default", FLOOD);
    let told = sidestep.log.lines().len();
    assert!(0 < told && told < LINES, "{told} lines of {FLOOD} datagrams");
    // What matters more is told all the same.
    let refused = crate::ask::connect(&client, &format!("{} --send hello", server.v4(8080)));
    assert_eq!(refused.refused.as_deref(), Some("ECONNREFUSED"));
    sidestep.log.outbound(server.v4(8080));
}

/// Sockets that no rule could hold, by their flags.
const OTHERS: [&str; 6] = [
    "--kind raw --protocol 1",
    "--kind raw --protocol 6",
    "--kind raw --protocol 255",
    "--kind datagram --protocol 136",
    "--kind raw --protocol 58 --family inet6",
    "--kind raw --protocol 17 --family inet6",
];

#[test]
fn other_protocols_get_no_socket_where_what_no_rule_names_is_denied() {
    needs_capture!(Need::Ipv6);
    let (client, _server) = Pod::pair();
    let sidestep = Sidestep::sidecar(&client, &outbound(&client, json!({ "default": "deny" })));
    for other in OTHERS {
        assert_eq!(made(client.app(), other).as_deref(), Some("EPERM"), "{other}");
        assert_eq!(made(client.sidecar(), other), None, "{other}: the instance is exempt");
    }
    for (kind, protocol) in [("stream", 6), ("stream", 0), ("datagram", 17), ("datagram", 0)] {
        for family in ["inet", "inet6"] {
            let line = format!("--kind {kind} --protocol {protocol} --family {family}");
            assert_eq!(made(client.app(), &line), None, "{line}");
        }
    }
    sidestep.counted("outbound", "deny", "other_protocol", OTHERS.len() as u64);
    let line = sidestep.log.expect("a socket that was not to be", |line| line.reason == "other_protocol");
    assert_eq!((line.verdict.as_str(), line.original_destination), ("deny", None));
}

#[test]
fn other_protocols_get_their_sockets_where_only_some_things_are_denied() {
    needs_capture!(Need::Ipv6);
    let (client, _server) = Pod::pair();
    let rules = json!({ "default": "proxy", "rules": [{ "deny": "10.77.0.2" }] });
    let sidestep = Sidestep::sidecar(&client, &outbound(&client, rules));
    for other in OTHERS {
        assert_eq!(made(client.app(), other), None, "{other}");
    }
    sidestep.counted("outbound", "direct", "other_protocol", OTHERS.len() as u64);
}

#[test]
fn mptcp_gets_its_sockets_where_everything_is_denied() {
    needs_capture!(Need::Mptcp);
    let (client, _server) = Pod::pair();
    let _sidestep = Sidestep::sidecar(&client, &outbound(&client, json!({ "default": "deny" })));
    assert_eq!(made(client.app(), "--kind stream --protocol 262"), None);
}
