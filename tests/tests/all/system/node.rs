//! The agent of a node in daily life: what people run as workloads, upgrades under load, pods that come and go in bad order,
//! those who mean ill, and what it tells of itself.

mod endings;
mod hostile;
mod operate;
mod replaced;
mod workloads;

use serde_json::{Value, json};
use sidestep_tests::node::Agent;
use sidestep_tests::{Node, Pod};

/// A pod and its name, which is its service account's and its label's too.
type Named<'pod> = (&'pod Pod, &'pod str);

/// An agent that serves these pods, configured with further sections.
fn serving<'node>(node: &'node Node, pods: &[Named<'_>], more: Value) -> Agent<'node> {
    for (pod, name) in pods {
        node.runs(pod, name);
    }
    let agent = node.start(&node.config(more), 15021).ready();
    for (_, name) in pods {
        agent.serves(name);
    }
    agent
}

/// No further sections.
fn plain() -> Value {
    json!({})
}
