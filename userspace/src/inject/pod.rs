//! One pod, as it is written for the API server or as the template of what makes pods.
//!
//! Injecting twice is injecting once. What a pod wants for itself wins over what its namespace says; what cannot work is
//! refused, so that nobody believes in a sidecar that is not there.

use std::fmt;

use serde_json::{Value, json};

use super::settings::Settings;
use super::{CONFIGURATION, CONTAINER, INJECT, INJECTED, STATUS, configuration, sidecar};

/// Where the pod will be.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its namespace.
    pub namespace: &'a str,
}

/// What to do with a pod that has the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Leave it as it is: others may have changed it since, with good reason.
    Keep,
    /// Replace it by one of these settings.
    Renew,
}

/// What became of a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It has the sidecar now.
    Injected {
        /// `metadata` and `spec`, and whatever else was there.
        template: Value,
        /// What the sidecar is told, for whoever can tell whether that is valid.
        configuration: String,
        /// What its author should know.
        warnings: Vec<String>,
    },
    /// It stays as it was.
    Untouched(Untouched),
}

/// Why a pod stays as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untouched {
    /// It has the sidecar.
    HasIt,
    /// It says `sidestep.io/inject: "false"`.
    OptedOut,
    /// It shares the node's network, and there is nothing that is its own.
    HostNetwork,
    /// It runs on Windows.
    Windows,
}

impl fmt::Display for Untouched {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::HasIt => "it has the sidecar already",
            Self::OptedOut => "it says sidestep.io/inject: \"false\"",
            Self::HostNetwork => "it has hostNetwork, and no network namespace of its own to capture in",
            Self::Windows => "it is for Windows",
        })
    }
}

/// Why a pod cannot have the sidecar as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl Refusal {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Puts the sidecar into a pod, or into the template of one.
///
/// # Errors
/// What would make a pod that does not start, or one that is not what its author means.
pub fn put_in(
    template: &Value,
    place: &Place<'_>,
    settings: &Settings,
    existing: Existing,
) -> Result<Outcome, Refusal> {
    expect_shape(template)?;
    let spec = &template["spec"];
    if let Some(reason) = reason_to_leave(template, existing) {
        return Ok(Outcome::Untouched(reason));
    }
    if spec["hostUsers"] == false {
        return Err(Refusal::new(format!(
            "expected a pod in the node's user namespace, found hostUsers: false, where programs cannot be loaded; \
             serve it from the node, or opt out with the annotation {INJECT}: \"false\""
        )));
    }
    let mut template = template.clone();
    take_out(&mut template);
    expect_no_namesake(&template["spec"])?;
    let configuration = configuration::of(&template, place, settings)?;
    let warnings = warnings(&template["spec"]);
    let metadata = &mut template["metadata"];
    if !metadata["annotations"].is_object() {
        metadata["annotations"] = json!({});
    }
    metadata["annotations"][STATUS] = json!(INJECTED);
    metadata["annotations"][CONFIGURATION] = json!(configuration.text);
    let spec = &mut template["spec"];
    // First, so that what other init containers connect to is captured too.
    change(spec, "initContainers", |list| {
        list.insert(0, sidecar::container(settings, configuration.admin_port));
    });
    change(spec, "volumes", |list| list.extend(sidecar::volumes(settings)));
    Ok(Outcome::Injected { template, configuration: configuration.text, warnings })
}

/// What is to be changed has to be what Kubernetes says that it is.
fn expect_shape(template: &Value) -> Result<(), Refusal> {
    let (metadata, spec) = (&template["metadata"], &template["spec"]);
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        return Err(Refusal::new("expected a pod with spec.containers, found none"));
    }
    for (field, value) in [
        ("metadata", metadata),
        ("metadata.annotations", &metadata["annotations"]),
        ("metadata.labels", &metadata["labels"]),
    ] {
        if !value.is_null() && !value.is_object() {
            return Err(Refusal::new(format!("{field}: expected a mapping, found {value}")));
        }
    }
    for (field, value) in
        [("spec.initContainers", &spec["initContainers"]), ("spec.volumes", &spec["volumes"])]
    {
        if !value.is_null() && !value.is_array() {
            return Err(Refusal::new(format!("{field}: expected a list, found {value}")));
        }
    }
    Ok(())
}

fn reason_to_leave(template: &Value, existing: Existing) -> Option<Untouched> {
    let (metadata, spec) = (&template["metadata"], &template["spec"]);
    let says = |of: &str, value: &str| metadata[of][INJECT] == value;
    if says("annotations", "false") || says("labels", "false") {
        return Some(Untouched::OptedOut);
    }
    if spec["hostNetwork"] == true {
        return Some(Untouched::HostNetwork);
    }
    if spec["os"]["name"] == "windows" {
        return Some(Untouched::Windows);
    }
    (existing == Existing::Keep && has_it(template)).then_some(Untouched::HasIt)
}

/// Whether injection has been here. The annotation alone proves nothing: anybody can write it.
fn has_it(template: &Value) -> bool {
    let injected = template["metadata"]["annotations"][STATUS] == INJECTED;
    injected && containers(&template["spec"], "initContainers").any(is_sidecar)
}

/// Takes out what an earlier injection has put in.
fn take_out(template: &mut Value) {
    if !has_it(template) {
        return;
    }
    let spec = &mut template["spec"];
    change(spec, "initContainers", |list| list.retain(|container| !is_sidecar(container)));
    change(spec, "volumes", |list| {
        list.retain(|volume| !volume["name"].as_str().is_some_and(sidecar::is_ours));
    });
}

fn is_sidecar(container: &Value) -> bool {
    container["name"] == CONTAINER && container["restartPolicy"] == "Always"
}

/// A container or a volume that is called as ours is not ours.
fn expect_no_namesake(spec: &Value) -> Result<(), Refusal> {
    let all = ["initContainers", "containers"].into_iter().flat_map(|list| containers(spec, list));
    let volumes = containers(spec, "volumes").filter_map(|volume| volume["name"].as_str());
    let namesake = all
        .filter_map(|container| container["name"].as_str())
        .find(|name| *name == CONTAINER)
        .map(|name| format!("a container named {name}"))
        .or_else(|| {
            volumes
                .into_iter()
                .find(|name| sidecar::is_ours(name))
                .map(|name| format!("a volume named {name}"))
        });
    match namesake {
        None => Ok(()),
        Some(found) => Err(Refusal::new(format!(
            "expected the names of the sidecar to be free, found {found} that injection has not put there; rename \
             it, or opt out with the annotation {INJECT}: \"false\""
        ))),
    }
}

/// What works, but perhaps not as its author thinks.
fn warnings(spec: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    // What the sidecar's drain takes by default, and a little.
    if spec["terminationGracePeriodSeconds"].as_u64().is_some_and(|seconds| seconds < 12) {
        warnings.push(
            "sidestep: terminationGracePeriodSeconds leaves the sidecar no time to drain; 12 s or more do"
                .to_owned(),
        );
    }
    warnings
}

fn containers<'a>(spec: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    spec[list].as_array().into_iter().flatten()
}

/// Changes the list of that name, which is empty if there is none.
fn change(spec: &mut Value, name: &str, change: impl FnOnce(&mut Vec<Value>)) {
    let mut list = match spec[name].take() {
        Value::Array(list) => list,
        _ => Vec::new(),
    };
    change(&mut list);
    spec[name] = Value::Array(list);
}

/// Whether these settings make a sidecar at all, tried on a pod that wants nothing for itself.
///
/// # Errors
/// What every pod would be refused for.
pub fn rehearse(settings: &Settings, check: &dyn Fn(&str) -> Result<(), String>) -> Result<(), String> {
    let pod = json!({ "spec": { "containers": [{ "name": "app" }] } });
    match put_in(&pod, &Place { namespace: "default" }, settings, Existing::Keep) {
        Ok(Outcome::Injected { configuration, .. }) => check(&configuration),
        Ok(Outcome::Untouched(reason)) => Err(reason.to_string()),
        Err(refusal) => Err(refusal.to_string()),
    }
}
