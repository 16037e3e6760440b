//! Pods that the agent of a node serves, and what one of them asks of another.

use serde_json::{Value, json};
use sidestep_tests::mesh::NAMESPACE;
use sidestep_tests::node::Agent;
use sidestep_tests::{Node, Pod, Process, eventually, leftovers};

use crate::ask::{connect, echo, eventually_dials, listening};

/// What the app of `db` answers who says hello.
pub(crate) const ANSWER: &str = "app\nhello";

/// Two pods of a node that run, joined to each other.
pub(crate) struct Pair {
    pub(crate) web: Pod,
    pub(crate) db: Pod,
    /// What keeps their network, as a runtime has it.
    _pauses: [Process; 2],
}

impl Pair {
    /// Runs `web` and `db` on a node.
    pub(crate) fn of(node: &Node) -> Self {
        let (web, db) = Pod::pair();
        let _pauses = [&web, &db].map(pause);
        node.runs(&web, "web");
        node.runs(&db, "db");
        Self { web, db, _pauses }
    }

    /// An app in `db` that answers [`Self::hello`].
    pub(crate) fn app(&self) -> Process {
        echo(&self.db, "app", self.db.v4(8080), "")
    }

    /// The line of a client in `web` that says hello to the app.
    pub(crate) fn hello(&self) -> String {
        hello(&self.db)
    }

    /// Whether `web` is answered now.
    pub(crate) fn is_answered(&self) -> bool {
        connect(&self.web, &self.hello()).read == ANSWER
    }

    /// Waits until `web` is answered.
    pub(crate) fn is_let_in(&self) {
        eventually_dials("web is let in", &self.web, &self.hello(), |dialled| dialled.read == ANSWER);
    }

    /// Waits until `web` gets no answer.
    pub(crate) fn is_denied(&self) {
        eventually_dials("web is denied", &self.web, &self.hello(), |dialled| dialled.read.is_empty());
    }
}

/// An agent of a node that serves both of a [`Pair`].
pub(crate) fn serving_both(node: &Node) -> Agent<'_> {
    let agent = node.agent();
    ["web", "db"].into_iter().for_each(|name| agent.serves(name));
    agent
}

/// The line of a client that says hello to the app of a pod.
pub(crate) fn hello(pod: &Pod) -> String {
    format!("{} --send hello", pod.v4(8080))
}

/// The first process of a pod.
pub(crate) fn pause(pod: &Pod) -> Process {
    listening(pod.app().peer("echo --name pause --listen 127.0.0.1:7"))
}

/// Whether a pod of that name is captured.
pub(crate) fn is_captured(name: &str) -> bool {
    !leftovers::pins(&format!("{NAMESPACE}_{name}")).is_empty()
}

/// Waits until nothing is left of a pod.
pub(crate) fn nothing_is_left_of(name: &str) {
    eventually("nothing is left of the pod", || {
        let pins = leftovers::pins(&format!("{NAMESPACE}_{name}"));
        if pins.is_empty() { Ok(()) } else { Err(pins) }
    });
}

/// A policy that denies `db` to everybody, or to those whom `source` names.
pub(crate) fn denial(name: &str, source: Option<Value>) -> Value {
    let rule = source.map_or(json!({}), |source| json!({ "from": [{ "source": source }] }));
    json!({
        "kind": "AuthorizationPolicy",
        "metadata": { "namespace": NAMESPACE, "name": name },
        "spec": { "selector": { "matchLabels": { "app": "db" } }, "action": "DENY", "rules": [rule] },
    })
}
