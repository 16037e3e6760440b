//! One agent serves the pods of a node, each by an instance of its own.

use nix::sys::signal::Signal;
use serde_json::json;
use sidestep_tests::mesh::{NAMESPACE, identity};
use sidestep_tests::{Node, Pod, leftovers, needs_capture};

use crate::ask::{accepted, connect, echo, eventually_dials};
use crate::pods::{ANSWER, Pair, denial, hello, nothing_is_left_of, serving_both};

#[test]
fn pods_that_run_are_enrolled_and_speak_through_a_tunnel() {
    needs_capture!();
    let node = Node::new();
    let pair = Pair::of(&node);
    let (web, db) = (&pair.web, &pair.db);
    let app = pair.app();
    let agent = serving_both(&node);
    let dialled = connect(web, &pair.hello());
    assert_eq!(dialled.read, "app\nhello", "{dialled:?}");
    assert_eq!(dialled.peer, Some(db.v4(8080)), "the original destination is shown");
    let (_, seen, _) = accepted(&app);
    assert_eq!(seen.map(|peer| peer.ip()), Some(web.v4(0).ip()), "the app sees the real client");
    let out = agent
        .log
        .expect("the connection of web", |line| line.workload == "shop/web" && line.direction == "outbound");
    assert_eq!(out.tier, "tunnel", "{out:?}");
    assert_eq!(out.destination_principal.as_deref(), Some(&*identity("db")));
    let inbound = agent
        .log
        .expect("the connection to db", |line| line.workload == "shop/db" && line.direction == "inbound");
    assert_eq!(inbound.source_principal.as_deref(), Some(&*identity("web")));
}

#[test]
fn a_policy_of_the_cluster_holds_for_the_pods_it_selects_and_as_soon_as_it_is_there() {
    needs_capture!();
    let node = Node::new();
    let pair = Pair::of(&node);
    let _app = pair.app();
    let _agent = serving_both(&node);
    assert!(pair.is_answered());
    node.api.put(denial("nobody", None));
    pair.is_denied();
    node.api.delete("AuthorizationPolicy", NAMESPACE, "nobody");
    pair.is_let_in();
}

#[test]
fn a_pod_is_held_to_the_policies_that_select_the_labels_it_has_by_now() {
    needs_capture!();
    let node = Node::new();
    let pair = Pair::of(&node);
    let _app = pair.app();
    let _agent = serving_both(&node);
    let mut denial = denial("quarantine", None);
    denial["spec"]["selector"] = json!({ "matchLabels": { "tier": "restricted" } });
    node.api.put(denial);
    assert!(pair.is_answered());
    let labelled = |labels: serde_json::Value| {
        let mut db = node.api.get("Pod", NAMESPACE, "db").unwrap_or_default();
        db["metadata"]["labels"] = labels;
        node.api.put(db);
    };
    labelled(json!({ "app": "db", "tier": "restricted" }));
    pair.is_denied();
    labelled(json!({ "app": "db" }));
    pair.is_let_in();
}

#[test]
fn a_pod_that_is_not_to_be_served_any_more_is_let_go_and_nothing_stays_of_it() {
    needs_capture!();
    let node = Node::new();
    let pair = Pair::of(&node);
    let _app = pair.app();
    let agent = node.agent();
    agent.serves("web");
    assert_eq!(leftovers::pins(&format!("{NAMESPACE}_web")).len(), 1);
    node.api.put(node.object(&pair.web, "web", json!({ "annotations": { "sidestep.io/mode": "disabled" } })));
    nothing_is_left_of("web");
    // Not through the tunnel: who is not served has no identity.
    assert_eq!(connect(&pair.web, &pair.hello()).read, ANSWER);
}

#[test]
fn an_agent_whose_daemon_set_is_gone_leaves_nothing() {
    needs_capture!();
    let node = Node::new();
    let _pair = Pair::of(&node);
    let agent = serving_both(&node);
    node.want(false);
    assert!(agent.process.stop(Signal::SIGTERM).success(), "{}", agent.process.stderr());
    for name in ["shop_web", "shop_db", "node"] {
        assert_eq!(leftovers::pins(name), Vec::<String>::new());
    }
}

#[test]
fn a_pod_stays_captured_while_its_agent_is_replaced_and_is_served_by_the_next() {
    needs_capture!();
    let node = Node::new();
    let pair = Pair::of(&node);
    let _app = pair.app();
    let first = serving_both(&node);
    first.process.kill();
    // Nobody is there: captured connections are refused and never bypass.
    let refused = connect(&pair.web, &pair.hello());
    assert_eq!(refused.refused.as_deref(), Some("ECONNREFUSED"), "{refused:?}");
    let second = node.agent();
    second.serves("web");
    second.serves("db");
    assert!(pair.is_answered());
    // The third takes over while the second serves.
    let third = node.successor();
    third.serves("web");
    third.serves("db");
    assert!(pair.is_answered());
    third.log.expect("the third carries it", |line| line.workload == "shop/web" && line.tier == "tunnel");
    assert!(second.process.stop(Signal::SIGTERM).success(), "{}", second.process.stderr());
    assert!(pair.is_answered());
}

#[test]
fn the_plugin_returns_when_the_pod_is_captured() {
    needs_capture!();
    let node = Node::new();
    let (web, db) = Pod::pair();
    let _app = echo(&db, "app", db.v4(8080), "");
    let agent = node.agent();
    for (pod, name) in [(&web, "web"), (&db, "db")] {
        // As the API server has it before the kubelet has told of its addresses.
        let mut object = node.object(pod, name, json!({}));
        object["status"] = json!({ "phase": "Pending" });
        node.api.put(object);
        for _twice in 0..2 {
            let answer = node.plugin("ADD", pod, name);
            assert!(answer.status.success(), "{answer:?}\n{}", agent.process.stderr());
        }
        assert_eq!(leftovers::pins(&format!("{NAMESPACE}_{name}")).len(), 1);
    }
    let pods = [(&web, "web"), (&db, "db")];
    pods.into_iter().for_each(|(pod, name)| node.runs(pod, name));
    eventually_dials("through the tunnel", &web, &hello(&db), |dialled| dialled.read == ANSWER);
    for (pod, name) in pods {
        assert!(node.plugin("CHECK", pod, name).status.success());
        assert!(node.plugin("DEL", pod, name).status.success());
        nothing_is_left_of(name);
        node.api.delete("Pod", NAMESPACE, name);
    }
}
