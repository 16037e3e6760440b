//! Two processes of one workload: neither a successor, nor one that fails, nor a stop or a change of the configuration
//! at the wrong moment leaves the workload unguarded or unserved.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use sidestep_tests::patience::{eventually, eventually_true};
use sidestep_tests::{Config, Pod, Process, Sidestep, leftovers, needs_capture};

use crate::ask::{connect, dialled, echo, eventually_dials, held, storm_result, weathered};

/// Where nobody may connect to.
const DENIED: u16 = 8082;

/// Everything is proxied, but for one port of the server that is denied, and as many more as asked for.
fn guarded(client: &Pod, more: &[u16]) -> Config {
    let denied: Vec<String> = more.iter().chain(&[DENIED]).map(|port| format!("10.77.0.2:{port}")).collect();
    Config::of(client).without_inbound().with("outbound", json!({ "rules": [{ "deny": denied }] }))
}

/// Where the pins of a workload are that is being captured.
fn pins(pod: &Pod) -> PathBuf {
    leftovers::pin_directories(&pod.workload).pop().expect("a captured workload has pins")
}

/// The number of that directory: another one after a removal.
fn number(pod: &Pod) -> u64 {
    fs::metadata(pins(pod)).expect("stat the pins").ino()
}

/// Gives the pod one more address that its connections come from by default: what instances write into the kernel
/// without being told to by their configuration.
fn prefer_source(pod: &Pod, address: &str) {
    pod.namespace.ip(&["address", "add", &format!("{address}/24"), "dev", "eth0"]);
    pod.namespace.ip(&["route", "replace", "default", "via", "10.77.0.2", "src", address]);
    // Routes are asked for when an address comes or goes.
    pod.namespace.ip(&["address", "add", &format!("{address}/32"), "dev", "lo"]);
}

/// Whether a process has a file open.
fn opened(process: &Process, file: &Path) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", process.pid())).into_iter().flatten().flatten();
    descriptors.into_iter().any(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|path| path == file))
}

#[test]
fn a_successor_shares_the_admin_port_and_answers_its_probes() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let config = Config::of(&client).without_inbound();
    let first = Sidestep::sidecar(&client, &config);
    let second = Sidestep::start(&client, client.sidecar(), &["sidecar"], &config);
    assert!(first.process.ended().success(), "what was taken over ends by itself");
    let second = second.ready();
    assert_eq!(connect(&client, &format!("{} --send hello", server.v4(8080))).read, "right\nhello");
    second.log.outbound(server.v4(8080));
    assert!(first.log.lines().is_empty());
    assert!(second.process.stop(Signal::SIGTERM).success());
    leftovers::none(&client);
}

#[test]
fn a_stop_that_meets_a_take_over_leaves_the_successor_capturing() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let _denied = echo(&server, "denied", server.v4(DENIED), "--report nothing");
    for delay in [0, 10, 20, 50, 100, 150, 200, 300] {
        let first = Sidestep::sidecar(&client, &guarded(&client, &[]));
        let before = number(&client);
        let storm = client.app().peer(&format!("storm {} --parallel 1 --expect denied", server.v4(DENIED)));
        let successor = guarded(&client, &[]).on_admin_port(15022);
        let second = Sidestep::start(&client, client.sidecar(), &["sidecar"], &successor);
        // Not to wait for anything: the moment is what is being tried.
        std::thread::sleep(Duration::from_millis(delay));
        assert!(first.process.stop(Signal::SIGTERM).success(), "{delay} ms");
        let second = second.ready();
        storm.hang_up();
        let (answered, failures) = storm_result(&storm);
        if number(&client) == before {
            assert_eq!(answered, 0, "{delay} ms: taken over, so guarded without a gap: {failures:?}");
        }
        let refused = || connect(&client, &format!("{} --send hello", server.v4(DENIED))).refused;
        for _ in 0..20 {
            assert_eq!(refused().as_deref(), Some("ECONNREFUSED"), "{delay} ms");
        }
        let answer = connect(&client, &format!("{} --send hello", server.v4(8080)));
        assert_eq!(answer.read, "right\nhello", "{delay} ms: {answer:?}");
        second.log.outbound(server.v4(8080));
        assert!(second.process.stop(Signal::SIGTERM).success(), "{delay} ms");
        leftovers::none(&client);
    }
}

#[test]
fn every_refusal_during_take_overs_is_told_once() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _denied = echo(&server, "denied", server.v4(DENIED), "--report nothing");
    let config = guarded(&client, &[]);
    let mut serving = Sidestep::sidecar(&client, &config);
    let (mut refused, mut told) = (0, 0);
    for _ in 0..3 {
        let successor = Sidestep::start(&client, client.sidecar(), &["sidecar"], &config);
        for _ in 0..30 {
            let dialled = connect(&client, &format!("{} --send hello", server.v4(DENIED)));
            assert_eq!(dialled.refused.as_deref(), Some("ECONNREFUSED"));
            refused += 1;
            // Held to a hundred lines a second: more would be left out of the log on purpose.
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(serving.process.ended().success(), "what was taken over ends by itself");
        told += serving.log.lines().len();
        serving = successor.ready();
    }
    eventually_true("every refusal is told once", || told + serving.log.lines().len() == refused);
    assert!(serving.process.stop(Signal::SIGTERM).success());
    leftovers::none(&client);
}

#[test]
fn take_overs_and_a_stop_end_under_a_flood_of_refusals() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _denied = echo(&server, "denied", server.v4(DENIED), "--report nothing");
    let config = guarded(&client, &[]);
    let mut serving = Sidestep::sidecar(&client, &config);
    let storm = client.app().peer(&format!("storm {} --parallel 4 --expect denied", server.v4(DENIED)));
    for _ in 0..5 {
        let successor = Sidestep::start(&client, client.sidecar(), &["sidecar"], &config);
        assert!(serving.process.ended().success(), "what was taken over ends by itself");
        serving = successor.ready();
    }
    assert!(serving.process.stop(Signal::SIGTERM).success());
    storm.hang_up();
    leftovers::none(&client);
}

#[test]
fn a_start_that_waits_for_a_stop_begins_anew() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "--report nothing");
    for _ in 0..8 {
        let first = Sidestep::sidecar(&client, &guarded(&client, &[]));
        let pins = pins(&client);
        // Who starts or stops holds this lock: both wait for it at the same time, and either may be first.
        let turn = File::open(pins.join("links")).unwrap();
        eventually("the turn is free", || turn.try_lock());
        let successor = guarded(&client, &[]).on_admin_port(15022);
        let second = Sidestep::start(&client, client.sidecar(), &["sidecar"], &successor);
        eventually_true("the start waits", || opened(&second.process, &pins));
        first.process.signal(Signal::SIGTERM);
        eventually_true("the stop begins", || !matches!(first.http("/readyz"), Ok((200, _))));
        drop(turn);
        assert!(first.process.ended().success());
        let second = second.ready();
        let refused = connect(&client, &format!("{} --send hello", server.v4(DENIED))).refused;
        assert_eq!(refused.as_deref(), Some("ECONNREFUSED"));
        assert_eq!(connect(&client, &format!("{} --send hello", server.v4(8080))).read, "right\nhello");
        second.log.outbound(server.v4(8080));
        assert!(second.process.stop(Signal::SIGTERM).success());
        leftovers::none(&client);
    }
}

#[test]
fn a_changed_configuration_stays_the_successors_while_the_predecessor_drains() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let changing = 9000..9004;
    let more: Vec<String> = changing.clone().map(|port| format!("--listen {}", server.v4(port))).collect();
    let _echo = echo(&server, "right", server.v4(8080), &format!("{} --report nothing", more.join(" ")));
    let first = Sidestep::sidecar(&client, &guarded(&client, &[]));
    let open = client.app().peer(&format!("connect {} --send hello --end told", server.v4(8080)));
    assert_eq!(held(&open), (1, None));
    let second = Sidestep::sidecar(&client, &guarded(&client, &[]).on_admin_port(15022));
    let storm = client.app().peer(&format!("storm {} --parallel 2 --expect right", server.v4(8080)));
    let change = |port| {
        first.configure(&guarded(&client, &[port]));
        second.configure(&guarded(&client, &[port]).on_admin_port(15022));
        prefer_source(&client, &format!("10.77.0.{}", port - 8900));
        let line = format!("{} --send hello", server.v4(port));
        eventually_dials("the change holds", &client, &line, |dialled| dialled.refused.is_some());
        let served = second.log.lines().len();
        eventually_true("the successor serves", || second.log.lines().len() > served + 20);
    };
    changing.clone().take(3).for_each(change);
    assert_eq!(first.process.status(), None, "it drains");
    open.say("go on");
    let answer = dialled(&open);
    assert_eq!((answer.read.as_str(), answer.broken), ("right\nhello", None));
    assert!(first.process.ended().success());
    changing.skip(3).for_each(change);
    weathered(&storm);
    assert!(second.process.stop(Signal::SIGTERM).success());
    leftovers::none(&client);
}

#[test]
fn a_successor_that_cannot_start_leaves_its_predecessor_serving() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), &format!("--listen {}", server.v4(DENIED)));
    let first = Sidestep::sidecar(&client, &guarded(&client, &[]));
    let successor = guarded(&client, &[]).on_admin_port(15022);
    let mut failed = 0;
    for descriptors in (40..=90).step_by(2) {
        let place = client.sidecar().with_descriptors(descriptors);
        let second = Sidestep::start(&client, place, &["sidecar"], &successor);
        let status = eventually("the successor starts or fails", || match second.process.status() {
            None if matches!(second.http("/readyz"), Ok((200, _))) => Ok(None),
            None => Err("neither"),
            status => Ok(status),
        });
        let Some(status) = status else { break };
        assert!(!status.success(), "{descriptors} descriptors");
        failed += 1;
        let served = first.log.lines().len();
        let answer = connect(&client, &format!("{} --send hello", server.v4(8080)));
        let complaint = second.process.stderr();
        assert_eq!(answer.read, "right\nhello", "{descriptors} descriptors: {answer:?}, {complaint}");
        eventually_true("the predecessor serves", || first.log.lines().len() > served);
        let refused = connect(&client, &format!("{} --send hello", server.v4(DENIED))).refused;
        assert_eq!(refused.as_deref(), Some("ECONNREFUSED"), "{descriptors} descriptors");
    }
    assert!(failed > 0, "40 descriptors are enough: begin with fewer");
}

#[test]
fn a_stop_while_rules_are_written_leaves_nothing() {
    needs_capture!();
    const RULES: u32 = 100_000;
    let pod = Pod::alone();
    let sidestep = Sidestep::sidecar(&pod, &Config::of(&pod));
    let links = pins(&pod).join("links");
    let denied: Vec<String> =
        (0..RULES).map(|host| std::net::Ipv4Addr::from_bits(0x0a00_0000 + host).to_string()).collect();
    sidestep.configure(&Config::of(&pod).with("outbound", json!({ "rules": [{ "deny": denied }] })));
    // Who writes holds this lock.
    eventually_true("the rules are being written", || {
        matches!(File::open(&links).unwrap().try_lock(), Err(TryLockError::WouldBlock))
    });
    assert!(sidestep.process.stop(Signal::SIGTERM).success());
    leftovers::none(&pod);
}
