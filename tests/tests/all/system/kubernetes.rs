//! The agent of a node and its API server: what is read there, what is told there, and what happens while it is not there.

use serde_json::{Value, json};
use sidestep_tests::api::Fault;
use sidestep_tests::mesh::NAMESPACE;
use sidestep_tests::patience::eventually_true;
use sidestep_tests::{Need, Node, Pod, eventually, needs_capture};

use super::server::answer;
use super::web::nginx;
use crate::ask::{connect, echo, eventually_dials};
use crate::pods::{ANSWER, Pair, denial, is_captured, pause, serving_both};

/// The annotation that says who is served.
fn note(node: &Node, name: &str) -> Option<String> {
    let pod = node.api.get("Pod", NAMESPACE, name)?;
    pod["metadata"]["annotations"]["sidestep.io/status"].as_str().map(str::to_owned)
}

#[test]
fn an_agent_that_begins_without_its_api_server_waits_and_serves_as_soon_as_it_is_there() {
    needs_capture!();
    let node = Node::new();
    let pair = Pair::of(&node);
    let _app = pair.app();
    node.api.down();
    let agent = node.start(&node.config(json!({})), 15021);
    eventually("it answers, and is not ready", || match agent.http("/readyz") {
        Ok((503, _)) => Ok(()),
        other => Err(other),
    });
    // Who asks for a pod to be enrolled is refused: nothing is known of it.
    let answer = node.plugin("ADD", &pair.web, "web");
    assert!(!answer.status.success() && !is_captured("web"), "{answer:?}");
    node.api.up();
    let agent = agent.ready();
    agent.serves("web");
    agent.serves("db");
    assert!(pair.is_answered());
}

#[test]
fn while_the_api_server_is_away_pods_are_served_as_it_said_last() {
    needs_capture!();
    let node = Node::new();
    let pair = Pair::of(&node);
    let _app = pair.app();
    let agent = serving_both(&node);
    node.api.put(denial("nobody", None));
    pair.is_denied();
    node.api.down();
    node.api.delete("AuthorizationPolicy", NAMESPACE, "nobody");
    eventually_true("it is said once", || {
        agent.process.stderr().matches("the API server cannot be reached").count() == 1
    });
    assert!(!pair.is_answered(), "what was denied stays so");
    let refused = node.plugin("ADD", &Pod::alone(), "new");
    assert!(!refused.status.success(), "{refused:?}");
    // It has forgotten what happened while nobody was there.
    node.api.compact();
    node.api.up();
    pair.is_let_in();
    eventually_true("it is said that it is back", || {
        agent.process.stderr().contains("the API server answers again")
    });
}

#[test]
fn a_storm_of_forgotten_versions_does_not_keep_a_policy_out() {
    needs_capture!();
    let node = Node::new();
    let pair = Pair::of(&node);
    let _app = pair.app();
    let _agent = serving_both(&node);
    node.api.fail(Some(Fault::Gone));
    node.api.put(denial("nobody", None));
    pair.is_denied();
    node.api.fail(None);
    node.api.delete("AuthorizationPolicy", NAMESPACE, "nobody");
    pair.is_let_in();
}

#[test]
fn labels_enrol_pods_that_run_and_let_them_go_again() {
    needs_capture!();
    let node = Node::new();
    node.label(&json!({}));
    let pair = Pair::of(&node);
    let _app = pair.app();
    let agent = node.agent();
    assert!(pair.is_answered());
    assert!(!is_captured("web") && note(&node, "web").is_none());
    for labels in [json!({ "sidestep.io/mode": "enabled" }), json!({ "istio.io/dataplane-mode": "ambient" })]
    {
        node.label(&labels);
        for name in ["web", "db"] {
            eventually_true("it is served and says so", || {
                is_captured(name) && note(&node, name).as_deref() == Some("enrolled")
            });
        }
        pair.is_let_in();
        node.label(&json!({}));
        for name in ["web", "db"] {
            eventually_true("it is let go and says so", || !is_captured(name) && note(&node, name).is_none());
        }
        assert!(pair.is_answered());
    }
    // Each of them has carried one connection.
    agent.log.expect("through the tunnel", |line| line.workload == "shop/web" && line.tier == "tunnel");
}

#[test]
fn the_note_on_a_served_pod_is_put_back_when_somebody_takes_it_away() {
    needs_capture!();
    let node = Node::new();
    let (web, db) = Pod::pair();
    let _pauses = [pause(&web), pause(&db)];
    node.runs(&web, "web");
    let agent = node.agent();
    eventually_true("it says so", || note(&node, "web").as_deref() == Some("enrolled"));
    // Whoever has heard of the second has heard of the note on the first.
    node.runs(&db, "db");
    agent.serves("db");
    let mut bare = node.api.get("Pod", NAMESPACE, "web").unwrap_or_default();
    bare["metadata"]["annotations"] = json!({ "somebody": "was here" });
    node.api.put(bare);
    eventually_true("it says so again", || note(&node, "web").as_deref() == Some("enrolled"));
    let pod = node.api.get("Pod", NAMESPACE, "web").unwrap_or_default();
    assert_eq!(pod["metadata"]["annotations"]["somebody"], "was here");
}

#[test]
fn a_route_leads_to_another_namespace_once_that_grants_it() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"));
    let node = Node::new();
    let (web, db) = Pod::pair();
    let _pause = pause(&web);
    let _nginx = nginx(&db);
    node.runs(&web, "web");
    let mut far = node.object(&db, "ledger", json!({}));
    (far["spec"]["nodeName"], far["metadata"]["namespace"]) = (json!("worker-2"), json!("bank"));
    node.api.put(far);
    for (namespace, name, address) in [(NAMESPACE, "front", "10.96.0.10"), ("bank", "ledger", "10.96.0.11")] {
        serve_at(&node, (namespace, name, "http"), address, &db);
    }
    node.api.put(json!({
        "kind": "HTTPRoute",
        "metadata": { "namespace": NAMESPACE, "name": "away" },
        "spec": {
            "parentRefs": [{ "group": "", "kind": "Service", "name": "front", "port": 80 }],
            "rules": [{ "backendRefs": [{ "namespace": "bank", "name": "ledger", "port": 80 }] }],
        },
    }));
    let grant = json!({
        "kind": "ReferenceGrant",
        "metadata": { "namespace": "bank", "name": "shop" },
        "spec": {
            "from": [{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": NAMESPACE }],
            "to": [{ "group": "", "kind": "Service", "name": "ledger" }],
        },
    });
    let agent = node.start(&node.config(json!({ "http": {} })), 15021).ready();
    agent.serves("web");
    let is_answered = |status: &str| {
        let asked = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "http://10.96.0.10/"];
        eventually(&format!("the answer is {status}"), || {
            let answered = answer(web.app(), "curl", asked);
            if answered == status { Ok(()) } else { Err(answered) }
        });
    };
    let says = |status: &str, reason: &str| {
        eventually(&format!("the route says {status}"), || {
            let route = node.api.get("HTTPRoute", NAMESPACE, "away").unwrap_or_default();
            let said = route["status"]["parents"][0]["conditions"].as_array().cloned().unwrap_or_default();
            let of_references = |condition: &&Value| condition["type"] == "ResolvedRefs";
            match said.iter().find(of_references) {
                Some(found) if found["status"] == status && found["reason"] == reason => Ok(()),
                _ => Err(route),
            }
        });
    };
    is_answered("500");
    says("False", "RefNotPermitted");
    node.api.put(grant);
    is_answered("200");
    says("True", "ResolvedRefs");
    node.api.delete("ReferenceGrant", "bank", "shop");
    is_answered("500");
    says("False", "RefNotPermitted");
}

#[test]
fn a_pod_of_the_nodes_network_is_refused_with_an_event() {
    needs_capture!();
    let node = Node::new();
    let web = Pod::alone();
    let mut object = node.object(&web, "web", json!({ "annotations": { "sidestep.io/mode": "enabled" } }));
    object["spec"]["hostNetwork"] = json!(true);
    node.api.put(object);
    let _agent = node.agent();
    let event = eventually("there is an event", || {
        let events = node.api.all("Event");
        events.first().cloned().ok_or(events)
    });
    assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("EnrolmentRefused")));
    assert_eq!(event["involvedObject"]["uid"], web.uid);
    assert!(event["message"].as_str().is_some_and(|message| message.contains("hostNetwork")), "{event}");
    assert!(!is_captured("web"));
}

#[test]
fn a_policy_that_cannot_be_honoured_says_so_until_it_is_mended() {
    needs_capture!();
    let node = Node::new();
    let _pair = Pair::of(&node);
    let _agent = node.agent();
    let mut policy = denial("custom", None);
    policy["spec"]["action"] = json!("CUSTOM");
    node.api.put(policy.clone());
    let condition = |wanted: &str| {
        eventually(&format!("the condition is {wanted}"), || {
            let policy = node.api.get("AuthorizationPolicy", NAMESPACE, "custom").unwrap_or_default();
            let condition = policy["status"]["conditions"][0].clone();
            if condition["status"] == wanted { Ok(condition) } else { Err(policy) }
        })
    };
    let told = condition("False");
    assert_eq!((&told["type"], &told["observedGeneration"]), (&json!("sidestep.io/Honoured"), &json!(1)));
    assert!(told["message"].as_str().is_some_and(|message| message.contains("CUSTOM")), "{told}");
    policy["spec"]["action"] = json!("DENY");
    policy["status"] = json!({ "conditions": [told] });
    node.api.put(policy);
    condition("True");
}

/// A service at port 80 of an address, with port 8080 of a pod behind it: its namespace, its name, and what it speaks.
fn serve_at(node: &Node, (namespace, name, protocol): (&str, &str, &str), address: &str, pod: &Pod) {
    node.api.put(json!({
        "kind": "Service",
        "metadata": { "namespace": namespace, "name": name },
        "spec": {
            "clusterIP": address, "clusterIPs": [address], "selector": { "app": name },
            "ports": [{ "name": protocol, "port": 80, "targetPort": 8080 }],
        },
    }));
    node.api.put(json!({
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": namespace, "name": format!("{name}-1"),
            "labels": { "kubernetes.io/service-name": name },
        },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": [pod.v4(0).ip()], "conditions": { "ready": true } }],
        "ports": [{ "name": protocol, "port": 8080 }],
    }));
}

#[test]
fn a_pod_reaches_itself_at_its_address_and_by_a_service_that_leads_back_to_it() {
    needs_capture!();
    let node = Node::new();
    let pair = Pair::of(&node);
    let _app = pair.app();
    serve_at(&node, (NAMESPACE, "db", "tcp"), "10.96.0.11", &pair.db);
    let agent = serving_both(&node);
    assert_eq!(connect(&pair.db, &pair.hello()).read, ANSWER);
    let line = "10.96.0.11:80 --send hello";
    eventually_dials("it reaches itself", &pair.db, line, |dialled| dialled.read == ANSWER);
    // For everybody else there is a tunnel.
    eventually_dials("web reaches it", &pair.web, line, |dialled| dialled.read == ANSWER);
    agent.log.expect("the connection", |line| line.workload == "shop/web" && line.tier == "tunnel");
}

#[test]
fn a_service_of_the_cluster_is_found_when_somebody_connects_to_it() {
    needs_capture!();
    let node = Node::new();
    let (web, db) = Pod::pair();
    let _app = echo(&db, "app", db.v4(8080), "");
    let _pause = pause(&web);
    node.runs(&web, "web");
    // It runs elsewhere, and nobody serves it there.
    let mut far = node.object(&db, "db", json!({}));
    far["spec"]["nodeName"] = json!("worker-2");
    node.api.put(far);
    serve_at(&node, (NAMESPACE, "db", "tcp"), "10.96.0.10", &db);
    let agent = node.agent();
    agent.serves("web");
    assert!(node.api.requests().iter().all(|request| !request.target().contains("10.96.0.10")));
    let line = "10.96.0.10:80 --send hello";
    eventually_dials("the service answers", &web, line, |dialled| dialled.read == ANSWER);
    node.api.asked("fieldSelector=spec.clusterIP=10.96.0.10", 1);
    let carried =
        agent.log.expect("the connection", |line| line.workload == "shop/web" && line.tier != "tunnel");
    assert_eq!(carried.upstream, Some(db.v4(8080)), "{carried:?}");
    // Not asked again, and what is behind it is followed.
    node.api.down();
    assert_eq!(connect(&web, line).read, ANSWER);
}
