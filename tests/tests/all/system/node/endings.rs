//! Pods that end: told to, by force, on their own, or while nobody looks. They are captured for as long as anything in them lives,
//! and then nothing is left of them.

use serde_json::{Value, json};
use sidestep_tests::mesh::NAMESPACE;
use sidestep_tests::node::Agent;
use sidestep_tests::patience::eventually_true;
use sidestep_tests::{Node, Pod, needs_capture};

use super::{plain, serving};
use crate::ask::{connect, echo};
use crate::pods::{ANSWER, Pair, hello, is_captured, nothing_is_left_of, pause};

/// The object of a pod with more in its status.
fn with_status(node: &Node, pod: &Pod, name: &str, status: &Value) -> Value {
    let mut object = node.object(pod, name, json!({}));
    if let (Some(known), Some(more)) = (object["status"].as_object_mut(), status.as_object()) {
        known.extend(more.clone());
    }
    object
}

/// Waits until the agent has heard of everything that was told before: of a pod that is told of last.
fn has_heard(node: &Node, agent: &Agent<'_>, name: &str) -> (Pod, sidestep_tests::Process) {
    let pod = Pod::alone();
    let pause = pause(&pod);
    let mut object = node.object(&pod, name, json!({}));
    object["status"]["podIPs"] = json!([{ "ip": "10.99.0.1" }]);
    node.api.put(object);
    agent.serves(name);
    (pod, pause)
}

/// A request of `web` goes through its instance, as `web`.
fn goes_through_the_instance(pair: &Pair, agent: &Agent<'_>, when: &str) {
    let count = || {
        let lines = agent.log.lines();
        lines.iter().filter(|line| line.workload == "shop/web" && line.tier == "tunnel").count()
    };
    let before = count();
    assert!(pair.is_answered(), "{when}");
    eventually_true(when, || count() > before);
}

#[test]
fn a_pod_that_ends_sends_its_last_requests_through_its_instance() {
    needs_capture!();
    let node = Node::new();
    let pair = Pair::of(&node);
    let _app = pair.app();
    let agent = serving(&node, &[(&pair.web, "web"), (&pair.db, "db")], plain());
    pair.is_let_in();
    // Drained: told to go, with time to do so.
    let last_words = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30 });
    node.api.put(node.object(&pair.web, "web", last_words));
    let _first = has_heard(&node, &agent, "first");
    goes_through_the_instance(&pair, &agent, "while it has been told to go");
    // Evicted: the kubelet says what will become of it before it has ended.
    node.api.put(with_status(&node, &pair.web, "web", &json!({ "phase": "Failed", "reason": "Evicted" })));
    let _second = has_heard(&node, &agent, "second");
    goes_through_the_instance(&pair, &agent, "while it is being evicted");
    // By force: its object is gone, and its processes are not.
    assert!(node.api.delete("Pod", NAMESPACE, "web"));
    let _third = has_heard(&node, &agent, "third");
    goes_through_the_instance(&pair, &agent, "after it was deleted by force");
    assert!(is_captured("web"));
    pair.web.cgroup.remove();
    nothing_is_left_of("web");
    assert!(is_captured("db"));
}

#[test]
fn of_a_job_that_is_done_nothing_is_left_and_its_next_pod_is_served() {
    needs_capture!();
    let node = Node::new();
    let (job, db) = Pod::pair();
    let pause = pause(&job);
    let _app = echo(&db, "app", db.v4(8080), "");
    let agent = serving(&node, &[(&job, "job"), (&db, "db")], plain());
    assert_eq!(connect(&job, &hello(&db)).read, ANSWER);
    pause.kill();
    node.api.put(with_status(&node, &job, "job", &json!({ "phase": "Succeeded" })));
    nothing_is_left_of("job");
    // Its object stays for people to look at, and the next one has another name or this one.
    job.cgroup.remove();
    drop(job);
    let next = Pod::alone();
    let _pause = crate::pods::pause(&next);
    let mut object = node.object(&next, "job", json!({}));
    object["status"]["podIPs"] = json!([{ "ip": "10.99.0.1" }]);
    node.api.put(object);
    eventually_true("the next one is served", || is_captured("job"));
    assert!(agent.process.status().is_none());
}

#[test]
fn pods_that_end_or_change_their_mind_while_no_agent_is_there_leave_nothing() {
    needs_capture!();
    let node = Node::new();
    let pair = Pair::of(&node);
    let app = pair.app();
    let gone = Pod::alone();
    let _pause = pause(&gone);
    let agent = serving(&node, &[(&pair.web, "web"), (&pair.db, "db")], plain());
    let mut object = node.object(&gone, "gone", json!({}));
    object["status"]["podIPs"] = json!([{ "ip": "10.99.0.1" }]);
    node.api.put(object);
    agent.serves("gone");
    agent.process.kill();
    drop(agent);
    node.api.put(node.object(&pair.web, "web", json!({ "annotations": { "sidestep.io/mode": "disabled" } })));
    node.api.delete("Pod", NAMESPACE, "gone");
    gone.cgroup.remove();
    gone.namespace.forget();
    assert!(is_captured("web"), "nobody has let go of it yet");
    assert_eq!(connect(&pair.web, &pair.hello()).refused.as_deref(), Some("ECONNREFUSED"));
    let next = node.agent();
    next.serves("db");
    nothing_is_left_of("web");
    nothing_is_left_of("gone");
    assert_eq!(connect(&pair.web, &pair.hello()).read, ANSWER);
    drop(app);
}
