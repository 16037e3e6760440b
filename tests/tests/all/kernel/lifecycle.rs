//! Beginning, crash, take-over and end: of the instance, and of a command under `sidestep run`.

use nix::sys::signal::Signal;
use serde_json::json;
use sidestep_tests::patience::{eventually, eventually_true};
use sidestep_tests::{Config, Pod, Process, Sidestep, leftovers, needs_capture, sidestep};

use crate::ask::{connect, dialled, echo, held, listening, weathered};

#[test]
fn the_next_start_adopts_what_a_killed_instance_left() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let dial = || connect(&client, &format!("{} --send hello", server.v4(8080)));
    let first = Sidestep::sidecar(&client, &Config::of(&client));
    assert_eq!(dial().read, "right\nhello");
    first.process.stop(Signal::SIGKILL);
    assert_eq!(dial().refused.as_deref(), Some("ECONNREFUSED"));
    let next = Sidestep::sidecar(&client, &Config::of(&client));
    assert_eq!(dial().read, "right\nhello");
    next.log.outbound(server.v4(8080));
    assert!(next.process.stop(Signal::SIGTERM).success());
    leftovers::none(&client);
}

#[test]
fn rules_hold_after_a_crash() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let more = format!("--listen {} --listen {}", server.v4(8081), server.v4(8082));
    let _echo = echo(&server, "right", server.v4(8080), &more);
    let rules = json!({ "rules": [{ "direct": "10.77.0.2:8081" }, { "deny": "10.77.0.2:8082" }] });
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client).without_inbound().with("outbound", rules));
    sidestep.process.stop(Signal::SIGKILL);
    let refused = |port| connect(&client, &format!("{} --send hello", server.v4(port))).refused;
    assert_eq!(refused(8080).as_deref(), Some("ECONNREFUSED"));
    assert_eq!(refused(8081), None, "what was direct needs no instance");
    assert_eq!(refused(8082).as_deref(), Some("ECONNREFUSED"));
    sidestep::cleanup(&client).succeed();
}

#[test]
fn a_second_process_takes_over_under_load_and_no_connection_is_refused() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "--report nothing");
    let first = Sidestep::sidecar(&client, &Config::of(&client).without_inbound());
    let storm = client.app().peer(&format!("storm {} --expect right", server.v4(8080)));
    first.log.outbound(server.v4(8080));
    let config = Config::of(&client).without_inbound().on_admin_port(15022);
    let second = Sidestep::sidecar(&client, &config);
    second.log.outbound(server.v4(8080));
    assert!(first.process.stop(Signal::SIGTERM).success());
    let taken_over = second.log.lines().len();
    eventually_true("the second process serves alone", || second.log.lines().len() > taken_over + 100);
    weathered(&storm);
    assert!(second.process.stop(Signal::SIGTERM).success());
    leftovers::none(&client);
}

#[test]
fn inbound_connections_survive_a_take_over_under_load() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "app", server.v4(8080), "--report nothing");
    let first = Sidestep::sidecar(&server, &Config::of(&server));
    let storm = client.app().peer(&format!("storm {} --expect app", server.v4(8080)));
    first.log.inbound(server.v4(8080));
    let second = Sidestep::sidecar(&server, &Config::of(&server).on_admin_port(15022));
    second.log.inbound(server.v4(8080));
    assert!(first.process.stop(Signal::SIGTERM).success());
    let taken_over = second.log.lines().len();
    eventually_true("the second process serves alone", || second.log.lines().len() > taken_over + 100);
    weathered(&storm);
}

#[test]
fn connections_pass_after_a_crash_where_failing_open_was_asked_for() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let config = Config::of(&client).with("capture", json!({ "mode": "ebpf", "on-failure": "open" }));
    let dial = || connect(&client, &format!("{} --send hello", server.v4(8080)));
    let first = Sidestep::sidecar(&client, &config);
    first.process.stop(Signal::SIGKILL);
    assert_eq!(dial().read, "right\nhello");
    let next = Sidestep::sidecar(&client, &config);
    next.counted("outbound", "direct", "fail_open", 1);
    assert_eq!(dial().read, "right\nhello");
    next.log.outbound(server.v4(8080));
}

#[test]
fn a_stop_lets_open_connections_finish() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client).without_inbound());
    let open = client.app().peer(&format!("connect {} --send hello --end told", server.v4(8080)));
    assert_eq!(held(&open), (1, None));
    sidestep.process.signal(Signal::SIGTERM);
    eventually("readiness is withdrawn while draining", || match sidestep.http("/readyz") {
        Ok((200, body)) => Err(body),
        _ => Ok(()),
    });
    open.say("go on");
    let answer = dialled(&open);
    assert_eq!((answer.read.as_str(), answer.broken), ("right\nhello", None));
    assert!(sidestep.process.ended().success());
    leftovers::none(&client);
}

#[test]
fn a_stop_does_not_wait_longer_than_its_deadline() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let config = Config::of(&client).without_inbound().with("relay", json!({ "drain-timeout": "1s" }));
    let sidestep = Sidestep::sidecar(&client, &config);
    let open = client.app().peer(&format!("connect {} --send hello --end told", server.v4(8080)));
    assert_eq!(held(&open), (1, None));
    assert!(sidestep.process.stop(Signal::SIGTERM).success());
    leftovers::none(&client);
}

#[test]
fn cleanup_leaves_a_living_instance_alone() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client));
    // Whether this is a success is for the product to say; that it does no harm is for us.
    let _status = sidestep::cleanup(&client).end();
    assert_eq!(connect(&client, &format!("{} --send hello", server.v4(8080))).read, "right\nhello");
    sidestep.log.outbound(server.v4(8080));
}

#[test]
fn a_taken_admin_port_is_named_and_nothing_stays_attached() {
    needs_capture!();
    let (pod, _other) = Pod::pair();
    let _squatter = echo(&pod, "squatter", "127.0.0.1:15021".parse().unwrap(), "");
    let sidestep = Sidestep::start(&pod, pod.sidecar(), &["sidecar"], &Config::of(&pod));
    assert!(!sidestep.process.ended().success());
    let complaint = sidestep.process.stderr();
    assert!(complaint.contains("15021"), "{complaint}");
    leftovers::none(&pod);
}

#[test]
fn check_says_what_this_kernel_allows() {
    needs_capture!();
    let pod = Pod::alone();
    let check = pod.sidecar().start(sidestep::binary(), ["check", "--json"]);
    check.succeed();
    let report: serde_json::Value = serde_json::from_str(&check.stdout().join("\n")).unwrap();
    assert!(report.is_object() || report.is_array(), "{report}");
    let attached = leftovers::attachments(&pod);
    assert!(attached.is_empty(), "checking attaches nothing: {attached:?}");
}

#[test]
fn run_captures_its_command_and_leaves_nothing_behind() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let run = sidestep::run_peer(client.app(), "", &format!("connect {} --send hello", server.v4(8080)));
    let answer = dialled(&run.process);
    assert_eq!((answer.read.as_str(), answer.peer), ("right\nhello", Some(server.v4(8080))));
    run.process.succeed();
    run.log.outbound(server.v4(8080));
    leftovers::none(&client);
}

#[test]
fn run_obeys_its_flags() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let dial = format!("connect {} --send hello", server.v4(8080));
    let refused = |flags: &str| {
        let run = sidestep::run_peer(client.app(), flags, &dial);
        let refused = dialled(&run.process).refused.is_some();
        run.process.succeed();
        (refused, run.log.lines().iter().filter(|line| line.verdict == "proxy").count())
    };
    assert_eq!(refused("--deny 10.77.0.2:8080"), (true, 0));
    assert_eq!(refused("--default deny"), (true, 0));
    assert_eq!(refused("--default deny --direct 10.77.0.0/24"), (false, 0));
    assert_eq!(refused("--deny 10.77.0.0/24 --proxy 10.77.0.2:8080"), (false, 1));
    assert_eq!(refused("--capture none"), (false, 0));
    leftovers::none(&client);
}

#[test]
fn run_exits_with_its_commands_own_status() {
    needs_capture!();
    let (pod, _other) = Pod::pair();
    for (script, expected) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143)] {
        let run = sidestep::run(pod.app(), "", &["sh", "-c", script]);
        assert_eq!(run.process.end().code(), Some(expected), "{script}");
    }
    leftovers::none(&pod);
}

#[test]
fn run_names_a_command_that_does_not_exist() {
    needs_capture!();
    let (pod, _other) = Pod::pair();
    let run = sidestep::run(pod.app(), "", &["/no/such/command"]);
    assert_eq!(run.process.end().code(), Some(127));
    let complaint = run.process.stderr();
    assert!(complaint.contains("/no/such/command"), "{complaint}");
    leftovers::none(&pod);
}

#[test]
fn run_forwards_signals() {
    needs_capture!();
    let (pod, _other) = Pod::pair();
    for (signal, name) in [(Signal::SIGTERM, "TERM"), (Signal::SIGINT, "INT"), (Signal::SIGHUP, "HUP")] {
        let script = format!("trap 'exit 9' {name}; echo trapped; while :; do sleep 1 & wait $!; done");
        let run = sidestep::run(pod.app(), "", &["sh", "-c", &script]);
        run.process.line("the word of the script", |line| (line == "trapped").then_some(()));
        assert_eq!(run.process.stop(signal).code(), Some(9), "SIG{name}");
    }
    leftovers::none(&pod);
}

#[test]
fn run_gives_its_command_no_blocked_signals() {
    needs_capture!();
    let pod = Pod::alone();
    let masks = |process: &Process| {
        process.succeed();
        process.stdout()
    };
    let show = ["grep", "-E", "^SigBlk", "/proc/self/status"];
    let plain = pod.app().start(show[0], &show[1..]);
    let run = sidestep::run(pod.app(), "", &show);
    assert_eq!(masks(&run.process), masks(&plain));
}

#[test]
fn a_connection_that_the_command_left_open_does_not_keep_run_alive() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _keep = listening(server.app().peer(&format!("keep --listen {}", server.v4(8080))));
    let run = sidestep::run_peer(client.app(), "", &format!("hold {} --count 5", server.v4(8080)));
    assert_eq!(held(&run.process), (5, None));
    run.process.succeed();
    leftovers::none(&client);
}
