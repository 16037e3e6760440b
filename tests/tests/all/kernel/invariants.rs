//! The invariants of the design, each with a test that bears its name.

use std::net::{Ipv4Addr, SocketAddr};

use nix::sys::signal::Signal;
use serde_json::json;
use sidestep_tests::{Cgroup, Config, Place, Pod, Process, Sidestep, leftovers, needs_capture, sidestep};

use crate::ask::{connect, dialled, echo, held, listening, transferred};

#[test]
fn invariant_1_no_netfilter_rule_and_no_policy_route_is_created() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let near = Sidestep::sidecar(&client, &Config::of(&client));
    let far = Sidestep::sidecar(&server, &Config::of(&server));
    assert_eq!(connect(&client, &format!("{} --send hello", server.v4(8080))).read, "right\nhello");
    near.log.outbound(server.v4(8080));
    far.log.inbound(server.v4(8080));
    for pod in [&client, &server] {
        assert_eq!(leftovers::netfilter(&pod.namespace), Vec::<String>::new());
        // Conntrack's table of a namespace is empty as long as no rule of it needs one.
        let tracked = pod.namespace.inside(|| std::fs::read_to_string("/proc/thread-self/net/nf_conntrack"));
        assert_eq!(tracked.unwrap_or_default(), "");
    }
}

#[test]
fn invariant_2_nothing_is_captured_that_was_not_asked_for() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let outside = Cgroup::new();
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client).without_inbound());
    let line = format!("connect {} --send hello", server.v4(8080));
    // The pod's namespace alone does not make a process part of the workload.
    let passing = Place { cgroup: &outside, ..client.app() }.peer(&line);
    assert_eq!(dialled(&passing).read, "right\nhello");
    passing.succeed();
    assert_eq!(connect(&client, &format!("{} --send hello", server.v4(8080))).read, "right\nhello");
    sidestep.log.outbound(server.v4(8080));
    assert_eq!(sidestep.log.lines().len(), 1, "only the app was to be captured");
}

#[test]
fn invariant_2_the_instance_is_exempt_by_its_own_cgroup_and_nothing_forgeable() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client).without_inbound());
    let beside = client.sidecar().peer(&format!("connect {} --send hello", server.v4(8080)));
    assert_eq!(dialled(&beside).read, "right\nhello");
    sidestep.counted("outbound", "direct", "instance", 1);
    // The app runs as root like the instance, and is captured all the same.
    assert_eq!(connect(&client, &format!("{} --send hello", server.v4(8080))).read, "right\nhello");
    sidestep.log.outbound(server.v4(8080));
    assert_eq!(sidestep.log.lines().len(), 1);
}

#[test]
fn invariant_3_captured_connections_are_refused_while_no_instance_lives() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let outer = echo(&server, "right", server.v4(8080), "");
    let inner = echo(&client, "left", client.v4(8080), "");
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client));
    sidestep.process.stop(Signal::SIGKILL);
    let outbound = connect(&client, &format!("{} --send hello", server.v4(8080)));
    assert_eq!(outbound.refused.as_deref(), Some("ECONNREFUSED"), "{outbound:?}");
    let inbound = connect(&server, &format!("{} --send hello", client.v4(8080)));
    assert_eq!(inbound.refused.as_deref(), Some("ECONNREFUSED"), "{inbound:?}");
    for app in [outer, inner] {
        let connected = app.stdout().iter().filter(|line| line.contains("accepted")).count();
        assert_eq!(connected, 0, "nothing may slip past the instance");
    }
    sidestep::cleanup(&client).succeed();
}

#[test]
fn invariant_4_a_handoff_is_never_guessed() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client).without_inbound());
    let ports = listening_ports(&client);
    assert!(!ports.is_empty(), "the instance must listen somewhere");
    for port in ports {
        // From the instance's own cgroup, which the programs let pass: nobody else gets this far.
        let stray = client.sidecar().peer(&format!("connect 127.0.0.1:{port} --send hello"));
        let answer = dialled(&stray);
        assert_eq!(
            answer.read, "",
            "port {port} answered a connection that says not where it goes: {answer:?}"
        );
    }
    sidestep.log.expect("a connection without a handoff", |line| {
        line.reason == "no_handoff" && line.verdict == "deny" && line.upstream.is_none()
    });
    assert_eq!(connect(&client, &format!("{} --send hello", server.v4(8080))).read, "right\nhello");
}

/// Ports of the IPv4 listeners in a namespace, but that of the admin address (proc_net_tcp.rst).
pub(super) fn listening_ports(pod: &Pod) -> Vec<u16> {
    const LISTEN: &str = "0A";
    let table = pod.namespace.inside(|| std::fs::read_to_string("/proc/thread-self/net/tcp"));
    let table = table.unwrap_or_else(|error| panic!("read the table of TCP sockets: {error}"));
    let ports = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        let port = u16::from_str_radix(local.split(':').nth(1)?, 16).ok()?;
        (state == LISTEN && port != 15021).then_some(port)
    });
    ports.collect()
}

#[test]
fn invariant_5_identical_four_tuples_in_two_workloads_never_meet() {
    needs_capture!();
    // Both pairs have the same addresses, and every client the same port.
    let worlds = ["one", "two"].map(|name| (name, Pod::pair()));
    let _echoes: Vec<Process> =
        worlds.iter().map(|(name, (_, server))| echo(server, name, server.v4(8080), "")).collect();
    let _locals: Vec<Process> = worlds
        .iter()
        .map(|(name, (client, _))| echo(client, name, SocketAddr::from((Ipv4Addr::LOCALHOST, 6000)), ""))
        .collect();
    let sidesteps: Vec<Sidestep<'_>> =
        worlds.iter().map(|(_, (client, _))| Sidestep::sidecar(client, &Config::of(client))).collect();
    for target in ["10.77.0.2:8080 --bind 10.77.0.1:5000", "127.0.0.1:6000 --bind 127.0.0.1:5000"] {
        let open: Vec<Process> = worlds
            .iter()
            .map(|(name, (client, _))| {
                client.app().peer(&format!("connect {target} --send {name} --end told"))
            })
            .collect();
        for client in &open {
            assert_eq!(held(client), (1, None), "both connections must live at the same time");
        }
        for (client, (name, _)) in open.iter().zip(&worlds) {
            client.say("go on");
            let answer = dialled(client);
            assert_eq!(answer.read, format!("{name}\n{name}"), "{target}: {answer:?}");
        }
    }
    for sidestep in &sidesteps {
        sidestep.log.outbound("10.77.0.2:8080".parse().unwrap());
        assert_eq!(sidestep.log.lines().len(), 1, "loopback passes, the other is captured");
    }
}

#[test]
fn invariant_6_bytes_are_never_reordered_lost_or_duplicated() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let near = Sidestep::sidecar(&client, &Config::of(&client));
    let far = Sidestep::sidecar(&server, &Config::of(&server));
    transferred(&client, &server, server.v4(8080), 500_000, 60);
    near.counted("outbound", "proxy", "default", 60);
    far.counted("inbound", "proxy", "rule", 60);
}

#[test]
fn invariant_7_nothing_stays_behind_after_a_clean_stop() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client));
    assert_ne!(leftovers::of(&client), Vec::<String>::new(), "capture leaves traces while it lives");
    assert!(sidestep.process.stop(Signal::SIGTERM).success());
    leftovers::none(&client);
    assert_eq!(connect(&client, &format!("{} --send hello", server.v4(8080))).read, "right\nhello");
}

#[test]
fn invariant_7_nothing_stays_behind_after_a_crash_and_a_cleanup() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client));
    sidestep.process.stop(Signal::SIGKILL);
    assert_ne!(leftovers::pins(&client.workload), Vec::<String>::new(), "a crash keeps capture closed");
    sidestep::cleanup(&client).succeed();
    leftovers::none(&client);
    assert_eq!(connect(&client, &format!("{} --send hello", server.v4(8080))).read, "right\nhello");
}

#[test]
fn invariant_8_rules_belong_to_the_workload_and_not_to_its_address() {
    needs_capture!();
    // The same addresses everywhere, so that nothing but cgroup and namespace can tell the two apart.
    let (strict, strict_server) = Pod::pair();
    let (lax, lax_server) = Pod::pair();
    let _echoes = [&strict_server, &lax_server].map(|server| echo(server, "right", server.v4(8080), ""));
    let outbound =
        |pod, default| Config::of(pod).without_inbound().with("outbound", json!({ "default": default }));
    let _strict = Sidestep::sidecar(&strict, &outbound(&strict, "deny"));
    let _lax = Sidestep::sidecar(&lax, &outbound(&lax, "proxy"));
    let line = format!("{} --send hello", strict_server.v4(8080));
    assert_eq!(connect(&strict, &line).refused.as_deref(), Some("ECONNREFUSED"));
    assert_eq!(connect(&lax, &line).read, "right\nhello");
}

#[test]
fn invariant_8_two_workloads_in_one_namespace_have_their_own_rules() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let dial = format!("connect {} --send hello", server.v4(8080));
    let strict = sidestep::run_peer(client.app(), "--default deny", &format!("{dial} --end told"));
    assert!(dialled(&strict.process).refused.is_some());
    let held_open = sidestep::run_peer(client.app(), "", &format!("{dial} --end told"));
    assert_eq!(held(&held_open.process), (1, None));
    let denied = sidestep::run_peer(client.app(), "--deny 10.77.0.2", &dial);
    assert!(dialled(&denied.process).refused.is_some());
    held_open.process.say("go on");
    assert_eq!(dialled(&held_open.process).read, "right\nhello");
    assert_eq!(connect(&client, &format!("{} --send hello", server.v4(8080))).read, "right\nhello");
    held_open.process.succeed();
    leftovers::none(&client);
}

#[test]
fn invariant_9_memory_does_not_grow_with_the_number_of_destinations() {
    needs_capture!();
    const GROWTH_KIB: u64 = 2 * 1024;
    let (client, server) = Pod::pair();
    server.own_prefix("10.88.0.0/16");
    let _keep = listening(server.app().peer("keep --listen 0.0.0.0:8080"));
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client).without_inbound());
    let visit = |hosts: Vec<String>| {
        let count = hosts.len();
        let hold = client.app().peer(&format!("hold {} --count {count}", hosts.join(" ")));
        assert_eq!(held(&hold), (count as u64, None));
        hold.succeed();
    };
    visit(vec!["10.88.255.1:8080".to_owned(); 200]);
    let before = sidestep.process.own_kib();
    for network in 0..10 {
        visit((1..=200).map(|host| format!("10.88.{network}.{host}:8080")).collect());
    }
    let after = sidestep.process.own_kib();
    sidestep.counted("outbound", "proxy", "default", 2_200);
    assert!(after < before + GROWTH_KIB, "{before} KiB after one destination, {after} KiB after 2,000");
}
