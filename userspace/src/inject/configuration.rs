//! What the sidecar of one pod is told: the sections that are the same for all, those that the pod wants otherwise, and what
//! only the pod's manifest knows.

use serde_json::{Map, Value, json};

use super::pod::{Place, Refusal};
use super::settings::{IdentitySource, Settings};
use super::sidecar::{CGROUP2, IDENTITY};
use super::{SIDECAR, probes};

/// Where the sidecar answers the kubelet, unless its configuration says otherwise.
const ADMIN: &str = "0.0.0.0:15021";

/// The configuration of a sidecar: as text, and what the manifest has to know of it.
pub(super) struct Configuration {
    /// As it is written into the pod's annotation.
    pub(super) text: String,
    /// The port that is probed.
    pub(super) admin_port: u16,
}

/// Writes the configuration for the pod of this template.
pub(super) fn of(template: &Value, place: &Place<'_>, settings: &Settings) -> Result<Configuration, Refusal> {
    let mut sections = settings.sidecar.clone();
    for (name, section) in wanted(template)? {
        sections.insert(name, section);
    }
    let labels = &template["metadata"]["labels"];
    if labels.as_object().is_some_and(|labels| !labels.is_empty()) {
        sections.entry("labels").or_insert_with(|| labels.clone());
    }
    if let Some(source) = &settings.identity {
        sections.entry("identity").or_insert_with(|| identity(source, template, place, settings));
    }
    section(&mut sections, "capture")?.insert("cgroup-mount".to_owned(), json!(CGROUP2));
    let probes = probes::of(&template["spec"]);
    if !probes.is_empty() {
        section(&mut sections, "inbound")?.entry("probes").or_insert(Value::Array(probes));
    }
    let admin = section(&mut sections, "admin")?.entry("address").or_insert_with(|| json!(ADMIN));
    let admin_port = admin.as_str().and_then(|address| address.rsplit(':').next()?.parse().ok());
    let Some(admin_port) = admin_port else {
        return Err(Refusal::new(format!("admin.address: expected an address and a port, found {admin}")));
    };
    // Written by a serializer that knows no values that it cannot write.
    let text = serde_saphyr::to_string(&sections)
        .map_err(|error| Refusal::new(format!("the sidecar's configuration cannot be written: {error}")))?;
    Ok(Configuration { text, admin_port })
}

/// The sections that the pod's annotation replaces.
fn wanted(template: &Value) -> Result<Map<String, Value>, Refusal> {
    let Some(text) = template["metadata"]["annotations"][SIDECAR].as_str() else {
        return Ok(Map::new());
    };
    serde_saphyr::from_str::<Option<Map<String, Value>>>(text).map(Option::unwrap_or_default).map_err(
        |error| {
            let error = error.without_snippet();
            Refusal::new(format!(
                "annotation {SIDECAR}: expected a mapping of the sidecar's settings: {error}"
            ))
        },
    )
}

/// Who the pod is, and where the proof comes from.
fn identity(source: &IdentitySource, template: &Value, place: &Place<'_>, settings: &Settings) -> Value {
    let account = template["spec"]["serviceAccountName"].as_str().unwrap_or("default");
    let id = format!("spiffe://{}/ns/{}/sa/{account}", settings.trust_domain, place.namespace);
    match source {
        IdentitySource::CertManager | IdentitySource::Secret(_) => json!({ "id": id, "files": IDENTITY }),
        IdentitySource::Spire => {
            json!({ "id": id, "workload-api": format!("{IDENTITY}/spire-agent.sock") })
        }
    }
}

/// The mapping of that name, made if there is none.
fn section<'a>(
    sections: &'a mut Map<String, Value>,
    name: &str,
) -> Result<&'a mut Map<String, Value>, Refusal> {
    match sections.entry(name).or_insert_with(|| json!({})) {
        Value::Object(section) => Ok(section),
        other => Err(Refusal::new(format!("{name}: expected a mapping of settings, found {other}"))),
    }
}
