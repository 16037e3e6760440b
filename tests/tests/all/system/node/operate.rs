//! What the agent of a node tells of the pods that it serves, and changes, at its socket.

use std::ffi::OsStr;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sidestep_tests::mesh::identity;
use sidestep_tests::{Node, Process, eventually, needs_capture, sidestep};

use super::{plain, serving};
use crate::ask::{connect, dialled, held};
use crate::pods::{ANSWER, Pair, denial};

/// Asks as somebody on the node does.
fn ask<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Process {
    let mut command = Command::new(sidestep::binary());
    command.args(arguments);
    Process::start(command)
}

fn answer<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> String {
    let asked = ask(arguments);
    asked.succeed();
    asked.stdout().join("\n")
}

fn told<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Value {
    let text = answer(arguments);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// What the agent says of one of its pods.
fn status(name: &str) -> Value {
    let told = told(["status", "--json", "--workload", &format!("shop/{name}")]);
    let mut agents = told.as_array().into_iter().flatten().filter(|process| process["form"] == "node");
    let agent = agents.next().unwrap_or_else(|| panic!("no agent of a node in {told}"));
    assert_eq!(agent["workloads"].as_array().map(Vec::len), Some(1), "{told}");
    agent["workloads"][0].clone()
}

#[test]
fn the_agent_of_a_node_tells_of_each_pod_apart() {
    needs_capture!();
    let node = Node::new();
    let pair = Pair::of(&node);
    let _app = pair.app();
    let (web, db) = (&pair.web, &pair.db);
    let agent = serving(&node, &[(web, "web"), (db, "db")], plain());
    eventually("web reaches db through a tunnel", || {
        let answered = pair.is_answered();
        let lines = agent.log.lines();
        if answered && lines.iter().any(|line| line.tier == "tunnel") { Ok(()) } else { Err(lines) }
    });

    // status: as a table of all pods, and of one of them.
    let table = answer(["status"]);
    assert!(table.contains(&format!("node, pid {}", agent.process.pid())), "{table}");
    assert!(table.contains("shop/web") && table.contains("shop/db"), "{table}");
    let of_web = status("web");
    assert_eq!((&of_web["workload"], &of_web["state"]), (&json!("shop/web"), &json!("ready")), "{of_web}");
    assert!(of_web["opened"]["outbound"].as_u64() >= Some(1), "{of_web}");
    assert!(!ask(["status", "--workload", "shop/nobody"]).end().success());

    // connections and explain: the same connection, as each of its ends has it.
    let open = web.app().peer(&format!("connect {} --end told", pair.hello()));
    assert_eq!(held(&open), (1, None));
    let connection = |name: &str| {
        let told = told(["connections", "--json", "--workload", &format!("shop/{name}")]);
        let of = |connection: &&Value| connection["tier"] == "tunnel";
        let found = told["connections"].as_array().into_iter().flatten().find(of).cloned();
        found.unwrap_or_else(|| panic!("no tunnelled connection in {told}"))
    };
    let (outbound, inbound) = (connection("web"), connection("db"));
    assert_eq!(outbound["workload"], "shop/web");
    assert_eq!(outbound["original"], json!(db.v4(8080).to_string()), "{outbound}");
    assert_eq!(inbound["workload"], "shop/db");
    let number = inbound["connection"].to_string();
    let explained = told(["explain", "--json", "--workload", "shop/db", "--connection", &number]);
    assert!(explained.to_string().contains(&identity("web")), "{explained}");
    let words = answer(["explain", "--workload", "shop/db", "--connection", &number]);
    assert!(words.contains(&identity("web")), "{words}");
    open.say("go on");
    assert_eq!(dialled(&open).read, ANSWER);
    eventually("its number means nothing any more", || {
        let asked = ask(["explain", "--workload", "shop/db", "--connection", &number]);
        if asked.end().success() { Err(asked.stdout()) } else { Ok(()) }
    });

    // config: what holds for this pod, which its policies are part of.
    let configured = told(["config", "--workload", "shop/web"]);
    assert_eq!(configured["shop/web"]["identity"]["id"], json!(identity("web")), "{configured}");
    assert!(configured.get("shop/db").is_none(), "{configured}");
}

#[test]
fn top_shows_the_pods_of_a_node_with_their_rates_and_denials() {
    needs_capture!();
    let node = Node::new();
    let pair = Pair::of(&node);
    let _app = pair.app();
    let agent = serving(&node, &[(&pair.web, "web"), (&pair.db, "db")], plain());
    node.api.put(denial("nobody", None));
    pair.is_denied();
    let dialling = pair.web.app().peer(&format!("storm {} --parallel 1", pair.db.v4(8080)));
    let line = eventually("the denials of db are shown", || {
        let table = answer(["top", "--once", "--interval", "500ms", "--sort", "denied"]);
        assert!(table.contains("WORKLOAD") && table.contains("shop/web"), "{table}");
        let line = table.lines().find(|line| line.contains("shop/db")).unwrap_or_default().to_owned();
        let denied =
            line.split_whitespace().filter_map(|word| word.parse::<f64>().ok()).any(|rate| rate > 0.0);
        if denied { Ok(line) } else { Err(table) }
    });
    assert!(!line.contains("shop/web"), "{line}");
    dialling.hang_up();
    let one = answer(["top", "--once", "--interval", "200ms", "--workload", "shop/web"]);
    assert!(one.contains("shop/web") && !one.contains("shop/db"), "{one}");
    drop(agent);
}

#[test]
fn connections_of_one_pod_are_followed_and_what_the_agent_logs_is_changed() {
    needs_capture!();
    let node = Node::new();
    let pair = Pair::of(&node);
    let _app = pair.app();
    let agent = serving(&node, &[(&pair.web, "web"), (&pair.db, "db")], plain());
    let following = ask(["connections", "--follow", "--json", "--workload", "shop/web"]);
    // Who follows hears of what begins from then on.
    let opened = eventually("a connection is told of", || {
        connect(&pair.web, &pair.hello());
        let events = following.stdout();
        let event = events.iter().find_map(|line| serde_json::from_str::<Value>(line).ok());
        event.ok_or(events)
    });
    assert_eq!(opened["workload"], "shop/web");
    following.stop(Signal::SIGTERM);
    let told = following.stdout();
    assert!(told.iter().all(|line| line.contains("\"workload\":\"shop/web\"")), "{told:?}");

    let is_loud = || agent.process.stderr().contains("\"level\":\"DEBUG\"");
    assert!(!is_loud());
    assert_eq!(answer(["log", "debug", "--workload", "shop/web"]), "debug");
    eventually("something is logged that was not before", || {
        connect(&pair.web, &pair.hello());
        if is_loud() { Ok(()) } else { Err("nothing") }
    });
    assert_eq!(answer(["log", "info", "--workload", "shop/web"]), "info");
}
