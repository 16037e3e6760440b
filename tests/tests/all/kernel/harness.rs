//! The harness tests itself, without the product: what fails here says nothing about capture.

use sidestep_tests::leftovers::{self, Traces};
use sidestep_tests::{Event, Need, Pod, needs_workloads};

use crate::ask::{accepted, connect, held, transferred};

#[test]
fn two_pods_reach_each_other_and_the_server_says_its_name() {
    needs_workloads!();
    let (client, server) = Pod::pair();
    let echo = server.app().peer(&format!("echo --name right --listen {}", server.v4(8080)));
    echo.event("listening", |event| matches!(event, Event::Listening { .. }).then_some(()));
    let dialled = connect(&client, &format!("{} --send hello", server.v4(8080)));
    assert_eq!(dialled.read, "right\nhello");
    assert_eq!(dialled.peer, Some(server.v4(8080)));
    let (returned, peer, local) = accepted(&echo);
    assert_eq!(returned.ip(), client.v4(0).ip());
    assert_eq!(peer, Some(returned));
    assert_eq!(local, server.v4(8080));
}

#[test]
fn pods_reach_each_other_over_ipv6() {
    needs_workloads!(Need::Ipv6);
    let (client, server) = Pod::pair();
    let echo = crate::ask::echo(&server, "six", server.v6(8080), "");
    let dialled = connect(&client, &format!("{} --send hello", server.v6(8080)));
    assert_eq!(dialled.read, "six\nhello");
    assert_eq!(accepted(&echo).0.ip(), client.v6(0).ip());
}

#[test]
fn an_mptcp_client_reaches_an_mptcp_server() {
    needs_workloads!(Need::Mptcp);
    let (client, server) = Pod::pair();
    let _echo = crate::ask::echo(&server, "many-pathed", server.v4(8080), "--transport mptcp");
    let dialled = connect(&client, &format!("{} --transport mptcp --send hello", server.v4(8080)));
    assert_eq!(dialled.read, "many-pathed\nhello");
}

#[test]
fn every_way_to_connect_works_without_capture() {
    needs_workloads!();
    let (client, server) = Pod::pair();
    let _echo = crate::ask::echo(&server, "right", server.v4(8080), "");
    let mapped = format!("[::ffff:{}]:8080", server.v4(0).ip());
    for how in [
        format!("{} --how nonblocking", server.v4(8080)),
        format!("{} --how fast-open", server.v4(8080)),
        format!("{} --bind 10.77.0.1:5000", server.v4(8080)),
        format!("{} --bind-device eth0", server.v4(8080)),
        mapped,
    ] {
        let dialled = connect(&client, &format!("{how} --send hello"));
        assert_eq!(dialled.read, "right\nhello", "{how}: {dialled:?}");
    }
}

#[test]
fn a_refused_connection_is_reported_with_its_errno() {
    needs_workloads!();
    let (client, server) = Pod::pair();
    let dialled = connect(&client, &format!("{} --send hello", server.v4(9)));
    assert_eq!(dialled.refused.as_deref(), Some("ECONNREFUSED"));
}

#[test]
fn resets_are_seen_from_both_sides() {
    needs_workloads!();
    let (client, server) = Pod::pair();
    let resetting = crate::ask::echo(&server, "rude", server.v4(8080), "--end reset");
    let dialled = connect(&client, &format!("{} --send hello", server.v4(8080)));
    assert_eq!(dialled.broken.as_deref(), Some("ECONNRESET"), "{dialled:?}");
    drop(resetting);
    let patient = crate::ask::echo(&server, "patient", server.v4(8081), "");
    connect(&client, &format!("{} --send hello --end reset", server.v4(8081)));
    let error = patient.event("the end of the connection", |event| match event {
        Event::Closed { error, .. } => Some(error),
        _ => None,
    });
    assert_eq!(error.as_deref(), Some("ECONNRESET"));
}

#[test]
fn datagrams_are_answered() {
    needs_workloads!();
    let (client, server) = Pod::pair();
    let reply = crate::ask::udp(&client, &server, "connected");
    assert_eq!(reply, "udp hello");
}

#[test]
fn transfers_are_byte_exact_with_random_half_closes() {
    needs_workloads!();
    let (client, server) = Pod::pair();
    transferred(&client, &server, server.v4(8080), 300_000, 30);
}

#[test]
fn a_hundred_connections_are_held() {
    needs_workloads!();
    let (client, server) = Pod::pair();
    let _keep = crate::ask::listening(server.app().peer(&format!("keep --listen {}", server.v4(8080))));
    let hold = client.app().peer(&format!("hold {} --count 100", server.v4(8080)));
    assert_eq!(held(&hold), (100, None));
    hold.succeed();
}

#[test]
fn a_flood_stalls_until_the_reader_reads_and_arrives_whole() {
    needs_workloads!();
    let (client, server) = Pod::pair();
    let stall = crate::ask::listening(server.app().peer(&format!("stall --listen {}", server.v4(8080))));
    let flood = client.app().peer(&format!("flood {} --bytes 64000000", server.v4(8080)));
    flood.event("stalled", |event| matches!(event, Event::Stalled { .. }).then_some(()));
    stall.say("go");
    crate::ask::drained(&stall, 64_000_000);
}

#[test]
fn a_storm_counts_answers_and_failures() {
    needs_workloads!();
    let (client, server) = Pod::pair();
    let _echo = crate::ask::echo(&server, "right", server.v4(8080), "--report nothing");
    let storm = format!("{} --count 500 --expect right", server.v4(8080));
    crate::ask::stormed(&client, &storm, 500);
}

#[test]
fn round_trips_are_measured() {
    needs_workloads!();
    let (client, server) = Pod::pair();
    let listen = format!("echo --listen {} --report nothing", server.v4(8080));
    let _echo = crate::ask::listening(server.app().peer(&listen));
    let ping_pong = client.app().peer(&format!("ping-pong {} --count 200", server.v4(8080)));
    let (p50, p99) = ping_pong.event("latencies", |event| match event {
        Event::Latencies { p50_ns, p99_ns, .. } => Some((p50_ns, p99_ns)),
        _ => None,
    });
    assert!(0 < p50 && p50 <= p99);
}

#[test]
fn programs_run_in_the_cgroup_they_were_started_in() {
    needs_workloads!();
    let pod = Pod::alone();
    let echo = crate::ask::echo(&pod, "right", "127.0.0.1:80".parse().unwrap(), "");
    assert_eq!(pod.app_cgroup.processes(), [echo.pid().as_raw().cast_unsigned()]);
    assert!(pod.sidecar_cgroup.processes().is_empty());
}

#[test]
fn nothing_is_left_of_a_pod_that_was_dropped() {
    needs_workloads!();
    let pod = Pod::alone();
    let stray = crate::ask::echo(&pod, "stray", "127.0.0.1:80".parse().unwrap(), "");
    assert_eq!(leftovers::of(&pod), Vec::<String>::new());
    let traces = Traces::of(&pod);
    assert_ne!(traces.found(), Vec::<String>::new());
    drop(pod);
    assert_eq!(traces.found(), Vec::<String>::new());
    assert!(!stray.ended().success(), "dropping a pod kills what runs in it");
}
