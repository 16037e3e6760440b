//! What was there is gone: the workload's cgroup, its namespace's name, an app, a peer.

use nix::sys::signal::Signal;
use serde_json::json;
use sidestep_tests::need::find;
use sidestep_tests::patience::{eventually, eventually_true};
use sidestep_tests::{Cgroup, Config, Event, Pod, Sidestep, leftovers, needs_capture, sidestep};

use crate::ask::{connect, dialled, echo, held, listening, pair_with_bounded_buffers};

#[test]
fn an_app_whose_cgroup_was_removed_comes_back_in_a_new_one_and_is_captured() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client).without_inbound());
    let dial = || connect(&client, &format!("{} --send hello", server.v4(8080))).read;
    assert_eq!(dial(), "right\nhello");
    client.app_cgroup.remove();
    client.app_cgroup.make_again();
    assert_eq!(dial(), "right\nhello");
    sidestep.counted("outbound", "proxy", "default", 2);
    assert!(sidestep.process.stop(Signal::SIGTERM).success());
    leftovers::none(&client);
}

#[test]
fn an_instance_whose_workload_was_removed_says_so_and_stops_cleanly() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let refuge = Cgroup::new();
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client));
    refuge.adopt(&sidestep.process);
    client.cgroup.remove();
    eventually("the loss is told", || {
        let log = sidestep.process.stderr();
        if log.contains("cgroup was removed") { Ok(()) } else { Err(log) }
    });
    assert_eq!(sidestep.process.status(), None, "the instance must live on");
    assert_eq!(sidestep.http("/metrics").map(|(status, _)| status).ok(), Some(200));
    assert!(sidestep.process.stop(Signal::SIGTERM).success());
    let told = sidestep.process.stderr().matches("cgroup was removed").count();
    assert_eq!(told, 1, "once is enough");
    assert_eq!(leftovers::pins(&client.workload), Vec::<String>::new());

    for cgroup in [&client.cgroup, &client.app_cgroup, &client.sidecar_cgroup] {
        cgroup.make_again();
    }
    let next = Sidestep::sidecar(&client, &Config::of(&client));
    assert_eq!(connect(&client, &format!("{} --send hello", server.v4(8080))).read, "right\nhello");
    next.log.outbound(server.v4(8080));
    assert!(next.process.stop(Signal::SIGTERM).success());
    leftovers::none(&client);
}

#[test]
fn what_a_killed_instance_left_can_be_cleaned_up_when_its_cgroup_is_gone_too() {
    needs_capture!();
    let (client, _server) = Pod::pair();
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client));
    sidestep.process.stop(Signal::SIGKILL);
    client.cgroup.remove();
    assert_ne!(leftovers::pins(&client.workload), Vec::<String>::new());
    for cgroup in [&client.cgroup, &client.app_cgroup, &client.sidecar_cgroup] {
        cgroup.make_again();
    }
    sidestep::cleanup(&client).succeed();
    leftovers::none(&client);
}

#[test]
fn run_ends_when_its_commands_cgroup_is_killed_from_outside() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _keep = listening(server.app().peer(&format!("keep --listen {}", server.v4(8080))));
    let run = sidestep::run_peer(client.app(), "", &format!("hold {} --count 5", server.v4(8080)));
    assert_eq!(held(&run.process), (5, None));
    let workload = client.app_cgroup.path().join(format!("sidestep-run-{}/workload", run.process.pid()));
    eventually("remove the command's cgroup", || sidestep_tests::cgroup::kill_and_remove(&workload));
    assert_eq!(run.process.ended().code(), Some(137), "{}", run.process.stderr());
    leftovers::none(&client);
}

#[test]
fn an_instance_outlives_the_name_of_its_namespace_and_stops_cleanly() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let app = echo(&client, "app", client.v4(8080), "");
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client));
    assert_eq!(connect(&server, &format!("{} --send hello", client.v4(8080))).read, "app\nhello");
    app.kill();
    client.namespace.forget();
    assert_eq!(sidestep.process.status(), None);
    // The instance is the last process in there, and goes on capturing what the namespace is reached by.
    let dialled = connect(&server, &format!("{} --send hello", client.v4(8080)));
    assert_eq!(dialled.broken.as_deref(), Some("ECONNRESET"), "{dialled:?}");
    assert!(sidestep.process.stop(Signal::SIGTERM).success());
    assert_eq!(leftovers::pins(&client.workload), Vec::<String>::new());
    if find("bpftool").is_some() {
        assert!(leftovers::cgroup_programs(&client.cgroup).is_empty());
    }
}

#[test]
fn a_killed_app_gives_back_all_that_its_transfers_took() {
    needs_capture!();
    const FLOODS: usize = 20;
    const GROWTH_KIB: u64 = 4 * 1024;
    /// The instance keeps up to eight empty pipes for the next bulk transfer.
    const SPARE_PIPES: usize = 8 * 2;
    let (client, server) = pair_with_bounded_buffers();
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client).without_inbound());
    let idle = sidestep.process.idle_descriptors();
    let before = sidestep.process.own_kib();
    let stalls: Vec<_> = (0..FLOODS)
        .map(|index| {
            listening(server.app().peer(&format!("stall --listen {}", server.v4(8000 + index as u16))))
        })
        .collect();
    let floods: Vec<_> = (0..FLOODS)
        .map(|index| client.app().peer(&format!("flood {} --bytes 64000000", server.v4(8000 + index as u16))))
        .collect();
    for flood in &floods {
        flood.event("a stalled writer", |event| matches!(event, Event::Stalled { .. }).then_some(()));
    }
    assert!(sidestep.process.descriptors() >= idle + 2 * FLOODS);
    for flood in &floods {
        flood.stop(Signal::SIGKILL);
    }
    for stall in &stalls {
        stall.say("go");
        let (bytes, _) = stall.event("the end of the stream", |event| match event {
            Event::Drained { bytes, fault } => Some((bytes, fault)),
            _ => None,
        });
        assert!(bytes < 64_000_000, "the stream was cut off");
    }
    eventually_true("every descriptor is closed", || {
        sidestep.process.descriptors() <= idle + 4 + SPARE_PIPES
    });
    eventually("every end is logged", || match sidestep.log.lines().len() {
        FLOODS => Ok(()),
        lines => Err(lines),
    });
    let after = sidestep.process.own_kib();
    assert!(after < before + GROWTH_KIB, "{before} KiB before, {after} KiB after");
}

#[test]
fn a_connection_whose_peer_vanished_is_ended_when_it_has_been_idle_for_too_long() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let config = Config::of(&client).without_inbound().with("relay", json!({ "idle-timeout": "1s" }));
    let sidestep = Sidestep::sidecar(&client, &config);
    let idle = sidestep.process.idle_descriptors();
    let open = client.app().peer(&format!("connect {} --send hello --end wait", server.v4(8080)));
    eventually_true("the connection is up", || sidestep.process.descriptors() >= idle + 2);
    // Nobody says goodbye: neither FIN nor RST can pass from now on.
    server.namespace.ip(&["link", "set", "eth0", "down"]);
    let answer = dialled(&open);
    assert_ne!(answer.broken.as_deref(), Some("EAGAIN"), "the client must not be the one that gave up");
    let line = sidestep.log.outbound(server.v4(8080));
    assert!(line.error.is_some() && line.duration_ms >= 1_000.0, "{line:?}");
    eventually_true("every descriptor is closed", || sidestep.process.descriptors() <= idle + 1);
}
