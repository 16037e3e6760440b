//! The relay under strain: much data, slow readers, resets, dead upstreams, and too few descriptors.

use nix::sys::signal::Signal;
use serde_json::json;
use sidestep_tests::need::find;
use sidestep_tests::patience::{eventually, eventually_true};
use sidestep_tests::{Config, Event, PinnedMap, Pod, Sidestep, needs_capture};

use crate::ask::{
    connect, dialled, drained, echo, eventually_dials, held, listening, pair_with_bounded_buffers,
    storm_result, stormed, transferred,
};

#[test]
fn a_hundred_megabytes_arrive_whole_both_ways() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let near = Sidestep::sidecar(&client, &Config::of(&client));
    let far = Sidestep::sidecar(&server, &Config::of(&server));
    transferred(&client, &server, server.v4(8080), 100_000_000, 4);
    let outbound = near.log.outbound(server.v4(8080));
    assert!(outbound.bytes_sent >= 100_000_000 && outbound.bytes_received >= 100_000_000, "{outbound:?}");
    far.log.inbound(server.v4(8080));
}

#[test]
fn half_closes_at_random_moments_are_carried_through() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let near = Sidestep::sidecar(&client, &Config::of(&client));
    let far = Sidestep::sidecar(&server, &Config::of(&server));
    transferred(&client, &server, server.v6(8080), 20_000, 300);
    near.counted("outbound", "proxy", "default", 300);
    far.counted("inbound", "proxy", "rule", 300);
}

#[test]
fn a_slow_reader_costs_less_than_four_mebibytes() {
    needs_capture!();
    const ALLOWED_KIB: u64 = 4 * 1024;
    const BYTES: u64 = 64_000_000;
    let (client, server) = pair_with_bounded_buffers();
    let stall = listening(server.app().peer(&format!("stall --listen {}", server.v4(8080))));
    let near = Sidestep::sidecar(&client, &Config::of(&client));
    let far = Sidestep::sidecar(&server, &Config::of(&server));
    let before = [&near, &far].map(|sidestep| sidestep.process.own_kib());
    let flood = client.app().peer(&format!("flood {} --bytes {BYTES}", server.v4(8080)));
    let accepted = flood.event("a stalled writer", |event| match event {
        Event::Stalled { bytes } => Some(bytes),
        _ => None,
    });
    assert!(accepted < BYTES, "back-pressure must reach the writer");
    for (sidestep, before) in [&near, &far].into_iter().zip(before) {
        let now = sidestep.process.own_kib();
        assert!(now < before + ALLOWED_KIB, "{before} KiB before, {now} KiB while the reader sleeps");
    }
    stall.say("go");
    drained(&stall, BYTES);
    flood.succeed();
    assert_eq!(near.log.outbound(server.v4(8080)).bytes_sent, BYTES);
    assert_eq!(far.log.inbound(server.v4(8080)).bytes_sent, BYTES);
}

#[test]
fn a_reset_by_the_client_reaches_the_server() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let app = echo(&server, "right", server.v4(8080), "");
    let near = Sidestep::sidecar(&client, &Config::of(&client));
    let _far = Sidestep::sidecar(&server, &Config::of(&server));
    connect(&client, &format!("{} --send hello --end reset", server.v4(8080)));
    let error = app.event("the end of the connection", |event| match event {
        Event::Closed { error, .. } => Some(error),
        _ => None,
    });
    assert_eq!(error.as_deref(), Some("ECONNRESET"), "a reset must not look like an orderly end");
    let line = near.log.outbound(server.v4(8080));
    assert_eq!(line.error_side.as_deref(), Some("workload"), "{line:?}");
}

#[test]
fn a_reset_by_the_server_reaches_the_client() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _app = echo(&server, "right", server.v4(8080), "--end reset");
    let near = Sidestep::sidecar(&client, &Config::of(&client));
    let _far = Sidestep::sidecar(&server, &Config::of(&server));
    let answer = connect(&client, &format!("{} --send hello", server.v4(8080)));
    assert_eq!(answer.broken.as_deref(), Some("ECONNRESET"), "{answer:?}");
    let line = near.log.outbound(server.v4(8080));
    assert_eq!(line.error_side.as_deref(), Some("peer"), "{line:?}");
}

#[test]
fn an_app_that_is_killed_mid_transfer_ends_its_connection_only() {
    needs_capture!();
    let (client, server) = pair_with_bounded_buffers();
    let stall = listening(server.app().peer(&format!("stall --listen {}", server.v4(8080))));
    let _echo = echo(&server, "right", server.v4(8081), "");
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client).without_inbound());
    let flood = client.app().peer(&format!("flood {} --bytes 64000000", server.v4(8080)));
    flood.event("a stalled writer", |event| matches!(event, Event::Stalled { .. }).then_some(()));
    flood.stop(Signal::SIGKILL);
    stall.say("go");
    stall.event("the end of the stream", |event| matches!(event, Event::Drained { .. }).then_some(()));
    sidestep.log.outbound(server.v4(8080));
    assert_eq!(connect(&client, &format!("{} --send hello", server.v4(8081))).read, "right\nhello");
}

#[test]
fn the_stage_is_empty_after_ten_thousand_connects() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "--report nothing");
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client).without_inbound());
    let idle = sidestep.process.descriptors();
    stormed(&client, &format!("{} --count 10000 --parallel 8 --expect right", server.v4(8080)), 10_000);
    sidestep.counted("outbound", "proxy", "default", 10_000);
    if find("bpftool").is_some() {
        assert_eq!(PinnedMap::of(&client, "STAGE").entries(), 0, "every handoff must have been claimed");
    }
    eventually_true("the instance has closed its descriptors", || sidestep.process.descriptors() <= idle + 4);
    logged(&sidestep, 10_000);
}

#[test]
fn ten_thousand_connects_to_a_dead_upstream_are_survived() {
    needs_capture!();
    const GROWTH_KIB: u64 = 16 * 1024;
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client).without_inbound());
    let (before, idle) = (sidestep.process.own_kib(), sidestep.process.descriptors());
    let storm = client.app().peer(&format!("storm {} --count 10000 --parallel 8", server.v4(9)));
    let (answered, failures) = storm_result(&storm);
    assert_eq!((answered, failures.values().sum::<u64>()), (0, 10_000), "{failures:?}");
    assert!(!failures.keys().any(|why| why.contains("expected")), "an orderly end is no error: {failures:?}");
    sidestep.counted("outbound", "proxy", "default", 10_000);
    eventually_true("the instance has closed its descriptors", || sidestep.process.descriptors() <= idle + 4);
    let after = sidestep.process.own_kib();
    assert!(after < before + GROWTH_KIB, "{before} KiB before, {after} KiB after");
    assert_eq!(connect(&client, &format!("{} --send hello", server.v4(8080))).read, "right\nhello");
}

#[test]
fn an_instance_without_descriptors_backs_off_and_serves_again() {
    needs_capture!();
    const LIMIT: u64 = 256;
    let (client, server) = Pod::pair();
    let _keep = listening(server.app().peer(&format!("keep --listen {}", server.v4(8080))));
    let _echo = echo(&server, "right", server.v4(8081), "");
    let place = client.sidecar().with_descriptors(LIMIT);
    let sidestep =
        Sidestep::start(&client, place, &["sidecar"], &Config::of(&client).without_inbound()).ready();
    // Each captured connection needs at least two descriptors: the last of these cannot be served.
    let hold = client.app().peer(&format!("hold {} --count 300", server.v4(8080)));
    eventually("the instance runs out of descriptors", || {
        let open = sidestep.process.descriptors();
        if open as u64 + 8 > LIMIT || !hold.events().is_empty() { Ok(()) } else { Err(open) }
    });
    drop(hold);
    let dial = format!("{} --send hello", server.v4(8081));
    eventually_dials("the instance serves again", &client, &dial, |dialled| dialled.read == "right\nhello");
    sidestep.log.outbound(server.v4(8081));
    let complaints = sidestep.process.stderr().lines().count();
    assert!(complaints < 200, "what a workload can trigger must not flood the log: {complaints} lines");
}

#[test]
fn an_idle_connection_is_ended_when_its_time_is_over() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let config = Config::of(&client).without_inbound().with("relay", json!({ "idle-timeout": "1s" }));
    let sidestep = Sidestep::sidecar(&client, &config);
    let open = client.app().peer(&format!("connect {} --send hello --end wait", server.v4(8080)));
    let answer = dialled(&open);
    assert_ne!(answer.broken.as_deref(), Some("EAGAIN"), "the client must not be the one that gave up");
    let line = sidestep.log.outbound(server.v4(8080));
    assert!(line.error.is_some() && line.duration_ms >= 1_000.0, "{line:?}");
}

#[test]
fn an_upstream_that_never_answers_is_given_up_in_time() {
    needs_capture!();
    let (client, server) = Pod::pair();
    server.namespace.ip(&["route", "add", "blackhole", "10.99.0.0/16"]);
    let config = Config::of(&client).without_inbound().with("relay", json!({ "connect-timeout": "1s" }));
    let sidestep = Sidestep::sidecar(&client, &config);
    let answer = connect(&client, "10.99.0.1:80 --send hello");
    assert_eq!(answer.broken.as_deref(), Some("ECONNRESET"), "{answer:?}");
    let line = sidestep.log.outbound("10.99.0.1:80".parse().unwrap());
    assert_eq!(line.error_side.as_deref(), Some("peer"), "{line:?}");
}

#[test]
fn a_thousand_connections_are_held_through_two_instances() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _keep = listening(server.app().peer(&format!("keep --listen {}", server.v4(8080))));
    let near = Sidestep::sidecar(&client, &Config::of(&client));
    let _far = Sidestep::sidecar(&server, &Config::of(&server));
    let hold = client.app().peer(&format!("hold {} --count 1000", server.v4(8080)));
    assert_eq!(held(&hold), (1000, None));
    hold.succeed();
    logged(&near, 1_000);
}

/// Waits until as many connections are in the access log as were made, no fewer and no more.
fn logged(sidestep: &Sidestep<'_>, connections: usize) {
    eventually("every connection is logged", || match sidestep.log.lines().len() {
        lines if lines == connections => Ok(()),
        lines => Err(lines),
    });
}
