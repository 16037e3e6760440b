//! How news are written: an Event, an annotation, a condition.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::super::loose::{EVENTS, Loose, PODS};
use super::super::resources::kind_named;
use super::super::server::{Failure, Server};
use super::News;
use crate::model::{ObjectKey, PodKey, Pods};

/// Who says so, in the fields that ask for it.
const CONTROLLER: &str = "sidestep.io/node";
/// The annotation that says how a pod is served.
const STATUS: &str = "sidestep.io/status";
/// What it says of pods that the agent of a node serves.
const ENROLLED: &str = "enrolled";
/// Our condition on resources whose kind has no word for it.
const HONOURED: &str = "sidestep.io/Honoured";

/// Writes news.
pub(super) struct Writer {
    server: Arc<Server>,
    node: String,
    pods: watch::Receiver<Arc<Pods>>,
}

impl Writer {
    pub(super) fn new(server: Arc<Server>, node: &str, pods: watch::Receiver<Arc<Pods>>) -> Self {
        Self { server, node: node.to_owned(), pods }
    }

    /// Writes one, the `first` about its topic or another. What it is about may be gone: then there is nothing to write.
    pub(super) async fn write(&self, news: &News, first: bool) -> Result<(), Failure> {
        match news {
            News::Event { pod, uid, reason, message, warning } => {
                let event = self.event(pod, uid, reason, message, *warning);
                self.create_event(&pod.namespace, &event).await
            }
            News::Enrolled { pod, uid, enrolled } => self.annotate(pod, uid, *enrolled, first).await,
            News::Condition { key, generation, honoured, permitted } => {
                let fault = honoured.as_ref().err().map(String::as_str);
                let permitted = permitted.as_ref().map(|may| may.as_ref().err().map(String::as_str));
                self.condition(key, *generation, fault, permitted).await
            }
        }
    }

    fn event(&self, pod: &PodKey, uid: &str, reason: &str, message: &str, warning: bool) -> Value {
        // One name for one thing that is said: an agent that begins anew does not say it again.
        let mut hash = DefaultHasher::new();
        (uid, reason, message).hash(&mut hash);
        let now = now();
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": format!("{}.{:016x}", pod.name, hash.finish()),
                "namespace": pod.namespace,
            },
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": uid,
            },
            "reason": reason,
            // The server takes no more (the Event of core/v1).
            "message": message.chars().take(1024).collect::<String>(),
            "type": if warning { "Warning" } else { "Normal" },
            "source": { "component": "sidestep", "host": self.node },
            "reportingComponent": CONTROLLER,
            "reportingInstance": self.node,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        })
    }

    async fn create_event(&self, namespace: &str, event: &Value) -> Result<(), Failure> {
        let api = EVENTS.api(self.server.client(), Some(namespace));
        let event: Loose = serde_json::from_value(event.clone()).map_err(Failure::ours)?;
        match self.server.ask(api.create(&PostParams::default(), &event)).await {
            // It was said before.
            Err(failure) if failure.code == Some(409) => Ok(()),
            other => other.map(drop),
        }
    }

    async fn annotate(&self, pod: &PodKey, uid: &str, enrolled: bool, first: bool) -> Result<(), Failure> {
        let known = self.pods.borrow().pods.get(pod).cloned();
        let says = known.as_ref().and_then(|known| known.annotations.get(STATUS)).map(String::as_str);
        let right = if enrolled { says == Some(ENROLLED) } else { known.is_some() && says != Some(ENROLLED) };
        if first && right {
            return Ok(());
        }
        let mut metadata = json!({ "annotations": { STATUS: enrolled.then_some(ENROLLED) } });
        // Another pod may have the name by now. Static pods have another uid here than where they run.
        if uid.contains('-') {
            metadata["uid"] = json!(uid);
        }
        let api = PODS.api(self.server.client(), Some(&pod.namespace));
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        match self.server.ask(api.patch(&pod.name, &PatchParams::default(), &patch)).await {
            Err(failure) if failure.code == Some(409) => Ok(()),
            other => other.map(drop),
        }
    }

    /// `fault` is what is wrong with an object; `permitted`, where that is known of a route, what is with where it leads.
    async fn condition(
        &self,
        key: &ObjectKey,
        generation: i64,
        fault: Option<&str>,
        permitted: Option<Option<&str>>,
    ) -> Result<(), Failure> {
        // Grants have no status.
        let kind = kind_named(&key.kind).filter(|_| key.kind != "ReferenceGrant");
        let Some(kind) = kind else { return Ok(()) };
        let api = kind.api(self.server.client(), Some(&key.namespace));
        // Others write there too: several times, if they were quicker.
        for _attempt in 0..4 {
            let Some(object) = self.server.ask(api.get(&key.name)).await? else { return Ok(()) };
            if object.metadata.generation.unwrap_or_default() != generation {
                // About what it is now, news will come.
                return Ok(());
            }
            let status = if key.kind == "HTTPRoute" {
                route_status(&object, generation, fault, permitted)
            } else {
                policy_status(&object, generation, fault)
            };
            let Some(status) = status else { return Ok(()) };
            match self.patch_status(&api, &object, &status).await {
                Err(failure) if failure.code == Some(409) => {}
                other => return other,
            }
        }
        Ok(())
    }

    async fn patch_status(&self, api: &Api<Loose>, object: &Loose, status: &Value) -> Result<(), Failure> {
        let patch = json!({
            "metadata": { "resourceVersion": object.metadata.resource_version },
            "status": status,
        });
        let patch = Patch::Merge(patch);
        self.server.ask(api.patch_status(object.name(), &PatchParams::default(), &patch)).await.map(drop)
    }
}

/// The status of one of Istio's policies with our condition in it, if it has to be written: one that is honoured is spoken of
/// only where it was said before that it is not.
fn policy_status(object: &Loose, generation: i64, fault: Option<&str>) -> Option<Value> {
    let known = conditions(object.rest.pointer("/status/conditions"));
    let mine = known.iter().find(|condition| condition["type"] == HONOURED);
    if fault.is_none() && mine.is_none_or(|mine| mine["status"] == "True") {
        return None;
    }
    let reason = if fault.is_some() { "NotHonoured" } else { "Honoured" };
    let condition = condition(HONOURED, reason, generation, fault);
    with_condition(&known, condition).map(|conditions| json!({ "conditions": conditions }))
}

/// The status of a route with what we say of each service that it is for, if it has to be written.
fn route_status(
    object: &Loose,
    generation: i64,
    fault: Option<&str>,
    permitted: Option<Option<&str>>,
) -> Option<Value> {
    let known = conditions(object.rest.pointer("/status/parents"));
    let is_service = |parent: &&Value| {
        parent["kind"] == "Service" && matches!(parent["group"].as_str(), None | Some("" | "core"))
    };
    let parents = conditions(object.rest.pointer("/spec/parentRefs"));
    let mine: Vec<Value> = parents
        .iter()
        .filter(is_service)
        .map(|parent| {
            let is_this =
                |entry: &&Value| entry["controllerName"] == CONTROLLER && entry["parentRef"] == *parent;
            let last = known.iter().find(is_this).map_or(&Value::Null, |entry| &entry["conditions"]);
            let last = conditions(Some(last));
            let reason = if fault.is_some() { "UnsupportedValue" } else { "Accepted" };
            let now = with_condition(&last, condition("Accepted", reason, generation, fault)).unwrap_or(last);
            let resolved = permitted.and_then(|missing| resolved(&now, generation, missing));
            json!({
                "parentRef": parent,
                "controllerName": CONTROLLER,
                "conditions": resolved.unwrap_or(now),
            })
        })
        .collect();
    let others = known.iter().filter(|entry| entry["controllerName"] != CONTROLLER).cloned();
    let all: Vec<Value> = others.chain(mine).collect();
    (all != known).then(|| json!({ "parents": all }))
}

/// The conditions with what is to be said of where a route leads, if anything is: what may not be, and that it may where it was
/// said before that it may not. Whether all of it exists is known to nobody here.
fn resolved(known: &[Value], generation: i64, missing: Option<&str>) -> Option<Vec<Value>> {
    const RESOLVED: &str = "ResolvedRefs";
    let is_spoken_of = known.iter().any(|condition| condition["type"] == RESOLVED);
    let reason = if missing.is_some() { "RefNotPermitted" } else { RESOLVED };
    let said = (missing.is_some() || is_spoken_of).then(|| condition(RESOLVED, reason, generation, missing));
    with_condition(known, said?)
}

fn conditions(list: Option<&Value>) -> Vec<Value> {
    list.and_then(Value::as_array).cloned().unwrap_or_default()
}

fn condition(name: &str, reason: &str, generation: i64, fault: Option<&str>) -> Value {
    json!({
        "type": name,
        "status": if fault.is_some() { "False" } else { "True" },
        "reason": reason,
        "message": fault.unwrap_or("The agents of the nodes do as it says."),
        "observedGeneration": generation,
    })
}

/// The conditions with this one in its place, unless it is there as it is.
fn with_condition(known: &[Value], mut condition: Value) -> Option<Vec<Value>> {
    let place = known.iter().position(|other| other["type"] == condition["type"]);
    let last = place.map_or(&Value::Null, |place| &known[place]);
    let same = |field: &str| last[field] == condition[field];
    if ["status", "reason", "message", "observedGeneration"].into_iter().all(same) {
        return None;
    }
    condition["lastTransitionTime"] =
        if same("status") { last["lastTransitionTime"].clone() } else { json!(now()) };
    let mut conditions = known.to_vec();
    match place {
        Some(place) => conditions[place] = condition,
        None => conditions.push(condition),
    }
    Some(conditions)
}

/// Now, as Kubernetes writes it.
fn now() -> String {
    format!("{:.0}", Timestamp::now())
}
