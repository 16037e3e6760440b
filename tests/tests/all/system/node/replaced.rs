//! Agents that follow each other on a node: in an orderly way and under load, after the kernel has killed one, and for good.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sidestep_tests::cgroup::MemoryLimit;
use sidestep_tests::node::Agent;
use sidestep_tests::patience::eventually_true;
use sidestep_tests::{
    Event, Need, Node, Pod, Process, eventually, leftovers, metrics, needs_capture, sidestep,
};

use super::super::server::write;
use super::{plain, serving};
use crate::ask::{connect, dialled, echo, held, listening, weathered};
use crate::pods::{ANSWER, hello, is_captured, nothing_is_left_of, pause};

/// Waits until an agent carries new connections of a pod.
fn carries(agent: &Agent<'_>, name: &str) {
    let count = || agent.log.lines().iter().filter(|line| line.workload == format!("shop/{name}")).count();
    let before = count();
    eventually_true("it carries new connections", || count() > before + 20);
}

/// How many pods an agent serves.
fn serves(agent: &Agent<'_>) -> usize {
    metrics::sum(&agent.metrics(), "sidestep_instances", &[]) as usize
}

#[test]
fn a_successor_takes_over_under_load_and_what_is_open_ends_in_its_predecessor() {
    needs_capture!(Need::Speed);
    let node = Node::new();
    let (_switch, [web, shop, jobs, db]) = Pod::joined();
    let _pauses = [&web, &shop, &jobs].map(pause);
    let _app = echo(&db, "app", db.v4(8080), "--report nothing");
    let transferring = listening(db.app().peer(&format!("transfer-listen --listen {}", db.v4(9000))));
    let pods = [(&web, "web"), (&shop, "shop"), (&jobs, "jobs"), (&db, "db")];
    let mut first = serving(&node, &pods, plain());
    eventually_true("there are tunnels", || {
        connect(&web, &hello(&db));
        first.log.lines().iter().any(|line| line.workload == "shop/web" && line.tier == "tunnel")
    });
    let storms = [&web, &shop, &jobs]
        .map(|pod| pod.app().peer(&format!("storm {} --parallel 2 --expect app", db.v4(8080))));
    for port in [15022, 15021] {
        let open = web.app().peer(&format!("connect {} --end told", hello(&db)));
        assert_eq!(held(&open), (1, None));
        let bulk = shop.app().peer(&format!("transfer {} --bytes {}", db.v4(9000), 16 << 20));
        carries(&first, "web");
        // As for a DaemonSet with surge: the old one is told to go as soon as the new one is ready.
        let second = node.start(&node.config(plain()), port).ready();
        first.process.signal(Signal::SIGTERM);
        assert_eq!(serves(&second), pods.len(), "who is ready has all of them");
        pods.iter().for_each(|(_, name)| second.serves(name));
        carries(&second, "web");
        assert_eq!(first.process.status(), None, "it ends what it carries first");
        open.say("go on");
        let answer = dialled(&open);
        assert_eq!((answer.read.as_str(), answer.broken), (ANSWER, None));
        for side in [&bulk, &transferring] {
            let fault = side.event("a finished transfer", |event| match event {
                Event::Transferred(transferred) => Some(transferred.fault),
                _ => None,
            });
            assert_eq!(fault, None);
        }
        assert!(first.process.ended().success(), "{}", first.process.stderr());
        for name in ["web", "shop", "jobs"] {
            carries(&second, name);
        }
        first = second;
    }
    storms.iter().for_each(weathered);
    let bypassed =
        first.log.lines().into_iter().find(|line| line.workload == "shop/web" && line.tier != "tunnel");
    assert!(bypassed.is_none(), "{bypassed:?}");
}

#[test]
fn after_an_agent_that_the_kernel_killed_for_memory_direct_goes_on_and_the_rest_is_refused() {
    needs_capture!(Need::MemoryController);
    let node = Node::new();
    let (_switch, [web, db, outside]) = Pod::joined();
    let _pause = pause(&web);
    let _app = echo(&db, "app", db.v4(8080), "--report nothing");
    let _keep = listening(db.app().peer(&format!("keep --listen {}", db.v4(9000))));
    let _direct = echo(&outside, "direct", outside.v4(8080), "--report nothing");
    let config = json!({ "outbound": { "rules": [{ "direct": outside.v4(0).ip() }] } });
    let agent = serving(&node, &[(&web, "web"), (&db, "db")], config.clone());
    assert_eq!(connect(&web, &hello(&db)).read, ANSWER);
    let open = web.app().peer(&format!("connect {} --end told", hello(&outside)));
    assert_eq!(held(&open), (1, None));

    let limit = MemoryLimit::on(&agent.cgroup, &agent.process, 1 << 20);
    // Each connection needs some of it.
    let holding = web.app().peer(&format!("hold {} --count 4000", db.v4(9000)));
    eventually("the kernel kills the agent", || agent.process.status().ok_or_else(|| limit.kills()));
    assert_eq!(limit.kills(), 1);
    holding.kill();

    assert!(is_captured("web") && is_captured("db"), "as it was left");
    open.say("go on");
    let answer = dialled(&open);
    assert_eq!((answer.read.as_str(), answer.broken), ("direct\nhello", None));
    assert_eq!(connect(&web, &hello(&outside)).read, "direct\nhello", "the kernel decides alone");
    for (pod, why) in [(&web, "what is captured never bypasses"), (&outside, "nor does what comes in")] {
        let refused = connect(pod, &hello(&db));
        assert_eq!(refused.refused.as_deref(), Some("ECONNREFUSED"), "{why}: {refused:?}");
    }
    drop(agent);
    let next = serving(&node, &[(&web, "web"), (&db, "db")], config);
    assert_eq!(connect(&web, &hello(&db)).read, ANSWER);
    next.log.expect("the next one carries it", |line| line.workload == "shop/web" && line.tier == "tunnel");
}

/// A network as other plugins leave it on a node.
const NETWORK: &str = "{\n  \"cniVersion\": \"1.0.0\",\n  \"name\": \"pods\",\n  \"plugins\": [ { \"type\": \"bridge\" } ]\n}\n";

/// The plugin and its network on a node.
struct Plugin {
    program: PathBuf,
    network: PathBuf,
}

impl Plugin {
    fn of(node: &Node) -> Self {
        let network = node.networks().join("10-pods.conflist");
        write(&network, NETWORK);
        Self { program: node.bin().join("sidestep-cni"), network }
    }

    /// Whether the network names it.
    fn is_named(&self) -> bool {
        let text = fs::read_to_string(&self.network).unwrap_or_default();
        let network: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
        network["plugins"].as_array().into_iter().flatten().any(|plugin| plugin["type"] == "sidestep-cni")
    }

    /// Waits until it is there and is the file of a version.
    fn is_that_of(&self, program: &Path) {
        let wanted = fs::read(program).unwrap_or_else(|error| panic!("read {}: {error}", program.display()));
        eventually_true("the plugin is that of the version", || {
            self.is_named() && fs::read(&self.program).is_ok_and(|found| found == wanted)
        });
    }

    /// Enrols a pod that is about to start, as its runtime does.
    fn adds(&self, node: &Node, pod: &Pod, name: &str) {
        let mut object = node.object(pod, name, json!({}));
        object["status"] = json!({ "phase": "Pending" });
        node.api.put(object);
        let answer = node.call(Command::new(&self.program), "ADD", pod, name);
        assert!(answer.status.success() && is_captured(name), "{answer:?}");
        node.runs(pod, name);
    }
}

/// The product in the next version: another file.
fn next_version(directory: &Path) -> PathBuf {
    let program = directory.join("sidestep-next");
    fs::copy(sidestep::binary(), &program).unwrap_or_else(|error| panic!("copy the product: {error}"));
    let mut file = fs::OpenOptions::new().append(true).open(&program);
    let appended = file.as_mut().map(|file| std::io::Write::write_all(file, b"next"));
    assert!(matches!(appended, Ok(Ok(()))), "{appended:?}");
    program
}

/// Asks whoever answers at the node's socket which process it is.
fn answers() -> Option<u64> {
    let asked = Process::start({
        let mut command = Command::new(sidestep::binary());
        command.args(["status", "--json"]);
        command
    });
    asked.end();
    let told: Value = serde_json::from_str(&asked.stdout().join("\n")).ok()?;
    told.as_array()?.iter().find(|process| process["form"] == "node")?["pid"].as_u64()
}

#[test]
fn a_new_version_takes_the_plugin_over_and_when_it_is_uninstalled_nothing_is_left_on_the_node() {
    needs_capture!();
    let node = Node::new();
    let plugin = Plugin::of(&node);
    let files = tempfile::tempdir().unwrap_or_else(|error| panic!("make a directory: {error}"));
    let next = next_version(files.path());
    let (web, db) = Pod::pair();
    let _pause = pause(&web);
    let _app = echo(&db, "app", db.v4(8080), "--report nothing");

    let old = node.agent();
    plugin.is_that_of(&sidestep::binary());
    plugin.adds(&node, &web, "web");
    let new = node.start_program(&next, &node.config(plain()), 15022).ready();
    assert!(old.process.stop(Signal::SIGTERM).success(), "{}", old.process.stderr());
    // What the old one has left alone is the new one's.
    plugin.is_that_of(&next);
    assert_eq!(answers(), u64::try_from(new.process.pid().as_raw()).ok());
    new.serves("web");
    plugin.adds(&node, &db, "db");
    eventually_true("through a tunnel", || {
        connect(&web, &hello(&db)).read == ANSWER && new.log.lines().iter().any(|line| line.tier == "tunnel")
    });

    node.want(false);
    assert!(new.process.stop(Signal::SIGTERM).success(), "{}", new.process.stderr());
    assert_eq!(fs::read_to_string(&plugin.network).ok().as_deref(), Some(NETWORK), "to the byte");
    for directory in [node.bin(), node.socket().parent().map(Path::to_owned).unwrap_or_default()] {
        let left: Vec<_> = fs::read_dir(&directory).into_iter().flatten().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
    assert_eq!(fs::read_dir(node.networks()).map(Iterator::count).ok(), Some(1));
    assert_eq!(answers(), None, "the socket for questions is gone");
    for name in ["web", "db"] {
        nothing_is_left_of(name);
    }
    assert_eq!(leftovers::pins("node"), Vec::<String>::new());
    [&web, &db].into_iter().for_each(leftovers::none);
    assert_eq!(leftovers::cgroup_programs(&new.cgroup), Vec::<Value>::new());
    assert_eq!(connect(&web, &hello(&db)).read, ANSWER, "as if it had never been there");
}
