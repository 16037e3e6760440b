//! The other way to capture, for comparison and for kernels too old: the same results, with rules that are put
//! into the workload's namespace only and removed again.

use nix::sys::signal::Signal;
use serde_json::json;
use sidestep_tests::{Config, Need, Pod, Sidestep, leftovers, needs_capture};

use crate::ask::{connect, echo, transferred};

fn config(pod: &Pod) -> Config {
    Config::of(pod).with("capture", json!({ "mode": "iptables" }))
}

#[test]
fn iptables_capture_has_the_same_results_and_leaves_nothing() {
    needs_capture!(Need::Tool("iptables"), Need::Tool("ip6tables"), Need::Ipv6);
    let (client, server) = Pod::pair();
    let _four = echo(&server, "four", server.v4(8080), "");
    let _six = echo(&server, "six", server.v6(8080), "");
    let sidestep = Sidestep::sidecar(&client, &config(&client).without_inbound());
    for (name, destination) in [("four", server.v4(8080)), ("six", server.v6(8080))] {
        let dialled = connect(&client, &format!("{destination} --send hello"));
        assert_eq!(dialled.read, format!("{name}\nhello"), "{dialled:?}");
        assert_eq!(dialled.peer, Some(destination));
        assert_eq!(sidestep.log.outbound(destination).upstream, Some(destination));
    }
    assert_ne!(leftovers::netfilter(&client.namespace), Vec::<String>::new());
    assert!(sidestep.process.stop(Signal::SIGTERM).success());
    let rules = leftovers::netfilter(&client.namespace);
    let ours: Vec<&String> = rules.iter().filter(|rule| rule.to_lowercase().contains("sidestep")).collect();
    assert_eq!(ours, Vec::<&String>::new());
    assert_eq!(connect(&client, &format!("{} --send hello", server.v4(8080))).read, "four\nhello");
}

#[test]
fn iptables_capture_obeys_the_same_rules() {
    needs_capture!(Need::Tool("iptables"), Need::Tool("ip6tables"));
    let (client, server) = Pod::pair();
    let more = format!("--listen {} --listen {}", server.v4(8081), server.v4(8082));
    let _echo = echo(&server, "right", server.v4(8080), &more);
    let rules = json!({ "rules": [{ "deny": "10.77.0.2:8081" }, { "direct": "10.77.0.2:8082" }] });
    let sidestep = Sidestep::sidecar(&client, &config(&client).without_inbound().with("outbound", rules));
    let dial = |port| connect(&client, &format!("{} --send hello", server.v4(port)));
    assert_eq!(dial(8080).read, "right\nhello");
    assert_eq!(dial(8081).refused.as_deref(), Some("ECONNREFUSED"));
    assert_eq!(dial(8082).read, "right\nhello");
    sidestep.log.outbound(server.v4(8080));
}

#[test]
fn iptables_capture_carries_bytes_unharmed() {
    needs_capture!(Need::Tool("iptables"), Need::Tool("ip6tables"));
    let (client, server) = Pod::pair();
    let sidestep = Sidestep::sidecar(&client, &config(&client).without_inbound());
    transferred(&client, &server, server.v4(8080), 300_000, 20);
    sidestep.log.outbound(server.v4(8080));
}
