//! Pods and runtimes that do what they should not: at the wrong moment, twice, in another's name, or far too much.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use sidestep_tests::mesh::{NAMESPACE, identity};
use sidestep_tests::node::Agent;
use sidestep_tests::patience::eventually_true;
use sidestep_tests::{Cgroup, Node, Place, Pod, leftovers, metrics, needs_capture, sidestep};

use super::{plain, serving};
use crate::ask::{connect, echo, eventually_dials, held, listening, stormed};
use crate::pods::{ANSWER, Pair, hello, is_captured, nothing_is_left_of, pause};

/// A pod as the API server has it before its sandbox is there.
fn schedule(node: &Node, pod: &Pod, name: &str) {
    let mut object = node.object(pod, name, json!({}));
    object["status"] = json!({ "phase": "Pending" });
    node.api.put(object);
}

#[test]
fn a_pod_that_is_added_many_times_at_once_is_enrolled_once() {
    needs_capture!();
    let node = Node::new();
    let (web, db) = Pod::pair();
    let agent = node.agent();
    let pods = [(&web, "web"), (&db, "db")];
    pods.iter().for_each(|(pod, name)| schedule(&node, pod, name));
    thread::scope(|scope| {
        let asked: Vec<_> = pods
            .iter()
            .flat_map(|&(pod, name)| (0..4).map(move |_| (pod, name)))
            .map(|(pod, name)| {
                let node = &node;
                scope.spawn(move || node.plugin("ADD", pod, name))
            })
            .collect();
        for asked in asked {
            let answer = asked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            assert!(answer.status.success(), "{answer:?}\n{}", agent.process.stderr());
        }
    });
    for (pod, name) in pods {
        assert_eq!(leftovers::pins(&format!("{NAMESPACE}_{name}")).len(), 1);
        assert_eq!(agent.process.stderr().matches(&format!("\"pod\":\"shop/{name}\"")).count(), 1);
        assert!(node.plugin("DEL", pod, name).status.success());
        nothing_is_left_of(name);
    }
}

#[test]
fn a_pod_that_vanishes_while_it_is_added_is_an_error_and_leaves_nothing() {
    needs_capture!();
    let node = Node::new();
    let agent = node.agent();
    // What the agent asks about it takes long enough for it to vanish meanwhile.
    for (what, slow) in [("object", 400), ("sandbox", 400), ("both", 400)] {
        let pod = Pod::alone();
        let pause = pause(&pod);
        node.api.slow(Duration::from_millis(slow));
        schedule(&node, &pod, what);
        let answer = thread::scope(|scope| {
            let adding = scope.spawn(|| node.plugin("ADD", &pod, what));
            eventually_true("the plugin waits", || !adding.is_finished());
            if what != "sandbox" {
                node.api.delete("Pod", NAMESPACE, what);
            }
            if what != "object" {
                pause.kill();
                pod.namespace.forget();
                pod.cgroup.remove();
            }
            adding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        node.api.slow(Duration::ZERO);
        if what != "object" {
            assert!(!answer.status.success(), "{what}: {answer:?}");
            let said: Value = serde_json::from_slice(&answer.stdout).unwrap_or_default();
            assert!(said["code"].is_u64() && said["msg"].is_string(), "{what}: {answer:?}");
        }
        node.api.delete("Pod", NAMESPACE, what);
        // A runtime lets go of what it could not add.
        assert!(node.plugin("DEL", &pod, what).status.success(), "{what}");
        nothing_is_left_of(what);
    }
    // The agent is none the worse for it.
    let pod = Pod::alone();
    schedule(&node, &pod, "next");
    assert!(node.plugin("ADD", &pod, "next").status.success(), "{}", agent.process.stderr());
    assert!(is_captured("next"));
}

#[test]
fn of_two_pods_with_one_address_neither_is_taken_for_the_other() {
    needs_capture!();
    let node = Node::new();
    // Two networks that know nothing of each other, with the same addresses in both.
    let ((web, db), (shop, twin)) = (Pod::pair(), Pod::pair());
    let _pauses = [&web, &shop].map(pause);
    let _db = echo(&db, "db", db.v4(8080), "");
    let _twin = echo(&twin, "twin", twin.v4(8080), "");
    let agent = serving(&node, &[(&web, "web"), (&db, "db"), (&shop, "shop"), (&twin, "twin")], plain());
    eventually_true("it is told that they have one address", || {
        agent.process.stderr().contains("several pods have one address")
    });
    // The address is believed to be one of theirs. Who gets there reaches the one or the other, and whom he reaches has proved
    // that it is the one that was meant, or gets nothing.
    let reached: Vec<_> = [(&web, "db"), (&shop, "twin")]
        .into_iter()
        .map(|(from, name)| (name, connect(from, &hello(&db)).read))
        .collect();
    let answered = |name: &str| format!("{name}\nhello");
    for (name, read) in &reached {
        assert!(read.is_empty() || *read == answered(name), "{reached:?}");
    }
    assert!(reached.iter().any(|(_, read)| read.is_empty()), "one is not who was meant: {reached:?}");
    assert!(reached.iter().any(|(_, read)| !read.is_empty()), "and one is: {reached:?}");
    let told = |workload: &str, of: &str| {
        let lines = agent.log.lines();
        lines
            .into_iter()
            .find(|line| line.workload == workload && line.destination_principal.as_deref() == Some(of))
    };
    for (workload, other) in [("shop/web", "twin"), ("shop/shop", "db")] {
        let line = told(workload, &identity(other));
        assert!(line.as_ref().is_none_or(|line| line.bytes_received == 0), "{line:?}");
    }
    for line in agent.log.lines().into_iter().filter(|line| line.direction == "inbound") {
        let caller = if line.workload == "shop/db" { "web" } else { "shop" };
        assert!(line.source_principal.is_none_or(|source| source == identity(caller)), "{}", line.workload);
    }
    // Once one of them has gone, the address is the other's.
    for name in ["shop", "twin"] {
        node.api.delete("Pod", NAMESPACE, name);
    }
    eventually_dials("db is reached", &web, &hello(&db), |dialled| dialled.read == answered("db"));
    agent.log.expect("as db", |line| {
        line.workload == "shop/web" && line.destination_principal.as_deref() == Some(&*identity("db"))
    });
}

/// A metric of one workload.
fn of(agent: &Agent<'_>, name: &str, workload: &str) -> f64 {
    metrics::sum(&agent.metrics(), name, &[("workload", workload)])
}

#[test]
fn a_pod_that_floods_its_instance_does_not_disturb_another() {
    needs_capture!();
    const MOST: u64 = 40;
    let node = Node::new();
    let (_switch, [noisy, web, db, outside]) = Pod::joined();
    let _pauses = [&noisy, &web].map(pause);
    let _app = echo(&db, "app", db.v4(8080), "--report nothing");
    let _keep = listening(outside.app().peer(&format!("keep --listen {}", outside.v4(9000))));
    let _far = echo(&outside, "far", outside.v4(8080), "--report nothing");
    let pods = [(&noisy, "noisy"), (&web, "web"), (&db, "db")];
    let agent = serving(&node, &pods, json!({ "relay": { "max-connections": MOST } }));
    let holding = noisy.app().peer(&format!("hold {} --count {MOST}", outside.v4(9000)));
    assert_eq!(held(&holding), (MOST, None));
    // Far more than it may have, again and again.
    let flood = noisy.app().peer(&format!("storm {} --parallel 32", outside.v4(8080)));
    eventually_true("the flood is over its limit", || {
        of(&agent, "sidestep_connections_over_limit_total", "shop/noisy") > 100.0
    });
    stormed(&web, &format!("{} --parallel 8 --count 400 --expect app", db.v4(8080)), 400);
    stormed(&db, &format!("{} --parallel 8 --count 400 --expect far", outside.v4(8080)), 400);
    flood.kill();
    for quiet in ["shop/web", "shop/db"] {
        assert_eq!(of(&agent, "sidestep_connections_over_limit_total", quiet), 0.0, "{quiet}");
    }
    // And when it is quiet again it is served again.
    holding.hang_up();
    eventually_dials("it is served", &noisy, &hello(&outside), |dialled| dialled.read == "far\nhello");
}

#[test]
fn a_process_in_a_pod_is_not_heard_at_the_socket_of_the_runtime() {
    needs_capture!();
    let node = Node::new();
    let pair = Pair::of(&node);
    let agent = serving(&node, &[(&pair.web, "web"), (&pair.db, "db")], plain());
    let socket = node.socket();
    for (path, mode) in [(socket.as_path(), 0o600), (socket.parent().unwrap_or(&socket), 0o700)] {
        let found = fs::metadata(path).unwrap_or_else(|error| panic!("look at {}: {error}", path.display()));
        assert_eq!(found.permissions().mode() & 0o777, mode, "{}", path.display());
    }
    // Root, with the socket mounted into its container, where a kubelet keeps pods.
    let (above, forged) = (Cgroup::new(), Pod::alone());
    let pods = above.child("kubepods-test.slice");
    let place = Place { cgroup: &pods, namespace: &pair.web.namespace, descriptors: None, without: &[] };
    schedule(&node, &forged, "forged");
    let as_plugin = |place: Option<Place<'_>>, verb: &str, pod: &Pod, name: &str| {
        let program = node.bin().join("sidestep-cni");
        let _there = std::os::unix::fs::symlink(sidestep::binary(), &program);
        let command =
            place.map_or_else(|| std::process::Command::new(&program), |place| place.command(&program));
        node.call(command, verb, pod, name)
    };
    let added = as_plugin(Some(place), "ADD", &forged, "forged");
    assert!(!added.status.success() && !is_captured("forged"), "{added:?}");
    let said = String::from_utf8_lossy(&added.stdout).into_owned();
    assert!(said.contains("not heard: expected a process outside of pods"), "{said}");
    // Nor can it have another pod let go of: what a runtime is told then is that it went well.
    let _deleted = as_plugin(Some(place), "DEL", &pair.db, "db");
    assert!(is_captured("db"));
    let strangers = metrics::sum(&agent.metrics(), "sidestep_cni_requests_total", &[("outcome", "stranger")]);
    assert!(strangers >= 2.0, "{strangers}");
    // The runtime of the node is heard all the same.
    let added = as_plugin(None, "ADD", &forged, "forged");
    assert!(added.status.success() && is_captured("forged"), "{added:?}");
    let _app = pair.app();
    assert_eq!(connect(&pair.web, &pair.hello()).read, ANSWER);
}
