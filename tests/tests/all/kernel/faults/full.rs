//! What is full: the stage, the tables of rules, the instance.

use std::fmt::Write;

use nix::sys::signal::Signal;
use serde_json::json;
use sidestep_tests::patience::eventually;
use sidestep_tests::{Config, Need, PinnedMap, Pod, Sidestep, leftovers, needs_capture, sidestep};

use crate::ask::{connect, dialled, echo, eventually_dials, held, listening};

/// How many prefixes one configuration can have.
const PREFIXES: u32 = 131_072;

#[test]
fn a_connection_that_finds_the_stage_full_is_refused_and_the_next_one_served() {
    needs_capture!(Need::Tool("bpftool"));
    let (client, server) = Pod::pair();
    let app = echo(&server, "right", server.v4(8080), "");
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client).without_inbound());
    let stage = PinnedMap::of(&client, "STAGE");
    let capacity = stage.capacity();
    stage.fill(capacity);
    let dial = format!("{} --send hello", server.v4(8080));
    let refused = connect(&client, &dial);
    assert_eq!(refused.read, "", "{refused:?}");
    assert!(refused.refused.is_some() || refused.broken.is_some(), "{refused:?}");
    sidestep.counted("outbound", "deny", "stage_full", 1);
    let line = sidestep.log.expect("a connection without a handoff", |line| line.reason == "no_handoff");
    assert_eq!((line.verdict.as_str(), line.upstream), ("deny", None));
    assert!(!app.stdout().iter().any(|line| line.contains("accepted")), "nobody may have been dialled");
    stage.empty(capacity);
    assert_eq!(connect(&client, &dial).read, "right\nhello");
    assert_eq!(stage.entries(), 0);
}

/// A configuration with that many prefixes, as text: as YAML in flow style it would take seconds to build.
fn with_prefixes(pod: &Pod, count: u32) -> String {
    let mut text =
        format!("workload: {}\ninbound: {{ ports: none }}\noutbound:\n  rules:\n    - deny:\n", pod.workload);
    for number in 0..count {
        // Of 11.0.0.0/8, two addresses each.
        let [_, a, b, c] = (number * 2).to_be_bytes();
        writeln!(text, "      - 11.{a}.{b}.{c}/31").unwrap_or_else(|error| panic!("{error}"));
    }
    text
}

#[test]
fn more_rules_than_the_kernel_holds_are_refused_and_the_old_ones_kept() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let rules = json!({ "rules": [{ "deny": "10.77.0.2" }] });
    let config = Config::of(&client).without_inbound().with("outbound", rules);
    let sidestep = Sidestep::sidecar(&client, &config);
    sidestep.configure_with_text(&with_prefixes(&client, PREFIXES + 1));
    eventually("the complaint says how many there may be", || {
        let log = sidestep.process.stderr();
        if log.contains("at most 131072") { Ok(()) } else { Err(log) }
    });
    let dialled = connect(&client, &format!("{} --send hello", server.v4(8080)));
    assert_eq!(dialled.refused.as_deref(), Some("ECONNREFUSED"), "the old rules must hold");
    assert_eq!(sidestep.process.status(), None);
}

#[test]
fn as_many_rules_as_the_kernel_holds_can_be_replaced_by_as_many() {
    needs_capture!(Need::Speed);
    let (client, server) = Pod::pair();
    // Where no rule holds, the answer comes at once as well.
    server.own_prefix("11.0.0.0/8");
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client).without_inbound());
    let refused = |dial: &str| connect(&client, &format!("{dial} --send hello --how nonblocking"));
    let last = "11.3.255.255:80";
    let denied = |answer: &sidestep_tests::peer::Dialled| answer.refused.as_deref() == Some("ECONNREFUSED");
    sidestep.configure_with_text(&with_prefixes(&client, PREFIXES));
    eventually_dials(
        "the last of them holds",
        &client,
        &format!("{last} --send hello --how nonblocking"),
        denied,
    );
    // Both generations lie in the kernel while one takes over from the other.
    sidestep.configure_with_text(&with_prefixes(&client, PREFIXES).replace("deny:", "direct:"));
    let direct = || sidestep.metric("sidestep_verdicts_total", &[("verdict", "direct"), ("reason", "rule")]);
    eventually("the last of the new ones holds", || {
        let answer = refused(last);
        if direct() > 0.0 { Ok(()) } else { Err(Box::new(answer)) }
    });
}

#[test]
fn one_connection_more_than_allowed_is_reset_and_counted_and_serving_goes_on() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let _keep = listening(server.app().peer(&format!("keep --listen {}", server.v4(8081))));
    let config = Config::of(&client).without_inbound().with("relay", json!({ "max-connections": 3 }));
    let sidestep = Sidestep::sidecar(&client, &config);
    let hold = client.app().peer(&format!("hold {} --count 3", server.v4(8081)));
    assert_eq!(held(&hold), (3, None));
    let dial = format!("{} --send hello", server.v4(8080));
    let turned_away = connect(&client, &dial);
    let reset = |errno: &Option<String>| errno.as_deref() == Some("ECONNRESET");
    assert!(reset(&turned_away.broken) || reset(&turned_away.refused), "{turned_away:?}");
    let line = sidestep.log.outbound(server.v4(8080));
    assert_eq!((line.error_side.as_deref(), line.upstream), (Some("agent"), None), "{line:?}");
    assert!(line.error.is_some_and(|error| error.contains("max-connections")));
    eventually("it is counted", || match sidestep.metric("sidestep_connections_over_limit_total", &[]) {
        1.0 => Ok(()),
        count => Err(count),
    });
    assert_eq!(sidestep.process.stderr().matches("max-connections").count(), 1);
    hold.succeed();
    eventually_dials("there is room again", &client, &dial, |dialled| dialled.read == "right\nhello");
}

/// Gives the pod more addresses than the kernel's table holds: a start then fails when its maps are there already.
fn add_too_many_addresses(pod: &Pod) {
    let batch: String = (0..1_030_u32).fold(String::new(), |mut batch, number| {
        let [_, _, high, low] = number.to_be_bytes();
        writeln!(batch, "address add 10.90.{high}.{low}/32 dev lo").unwrap_or_else(|error| panic!("{error}"));
        batch
    });
    let file =
        tempfile::NamedTempFile::new().unwrap_or_else(|error| panic!("make a temporary file: {error}"));
    std::fs::write(file.path(), batch).unwrap_or_else(|error| panic!("write the batch: {error}"));
    pod.namespace.ip(&["-batch", &file.path().display().to_string()]);
}

/// Starts a second instance, which must end with 1 and say how many addresses there may be.
fn start_fails(pod: &Pod) {
    let config = Config::of(pod).without_inbound().on_admin_port(15022);
    let sidestep = Sidestep::start(pod, pod.sidecar(), &["sidecar"], &config);
    assert_eq!(sidestep.process.ended().code(), Some(1));
    let complaint = sidestep.process.stderr();
    assert!(complaint.contains("at most 1024 addresses"), "{complaint}");
}

#[test]
fn a_start_that_fails_with_its_maps_made_leaves_nothing() {
    needs_capture!();
    let (pod, _other) = Pod::pair();
    add_too_many_addresses(&pod);
    start_fails(&pod);
    leftovers::none(&pod);
}

#[test]
fn a_start_that_fails_leaves_a_living_instance_and_what_it_serves_alone() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let first = Sidestep::sidecar(&client, &Config::of(&client).without_inbound());
    let open = client.app().peer(&format!("connect {} --send hello --end told", server.v4(8080)));
    assert_eq!(held(&open), (1, None));
    add_too_many_addresses(&client);
    start_fails(&client);
    open.say("go on");
    assert_eq!(dialled(&open).read, "right\nhello");
    assert_eq!(connect(&client, &format!("{} --send hello", server.v4(8080))).read, "right\nhello");
    first.counted("outbound", "proxy", "default", 2);
    assert!(first.process.stop(Signal::SIGTERM).success());
    leftovers::none(&client);
}

#[test]
fn a_start_that_fails_after_a_crash_lets_nothing_escape() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let first = Sidestep::sidecar(&client, &Config::of(&client).without_inbound());
    first.process.stop(Signal::SIGKILL);
    add_too_many_addresses(&client);
    start_fails(&client);
    let dialled = connect(&client, &format!("{} --send hello", server.v4(8080)));
    assert_eq!(dialled.refused.as_deref(), Some("ECONNREFUSED"));
    sidestep::cleanup(&client).succeed();
    leftovers::none(&client);
}
