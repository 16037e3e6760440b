//! An object as the API server sent it, whatever is wrong with it: one that cannot be read must not hide the others of its
//! list.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, DynamicResourceScope};
use kube::{Api, Client, Resource};
use serde::ser::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Kind {
    /// Its group, empty for the oldest kinds.
    pub(super) group: &'static str,
    /// The version that is read.
    pub(super) version: &'static str,
    /// Its name.
    pub(super) kind: &'static str,
    /// What it is called in paths.
    pub(super) plural: &'static str,
}

impl Kind {
    /// Its name as kube knows it.
    pub(super) fn resource(&self) -> ApiResource {
        let api_version = if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        };
        ApiResource {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            api_version,
            kind: self.kind.to_owned(),
            plural: self.plural.to_owned(),
        }
    }

    /// The objects of a namespace, or of all.
    pub(super) fn api(&self, client: Client, namespace: Option<&str>) -> Api<Loose> {
        match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &self.resource()),
            None => Api::all_with(client, &self.resource()),
        }
    }
}

/// Pods.
pub(super) const PODS: Kind = Kind { group: "", version: "v1", kind: "Pod", plural: "pods" };
/// Namespaces.
pub(super) const NAMESPACES: Kind =
    Kind { group: "", version: "v1", kind: "Namespace", plural: "namespaces" };
/// Services.
pub(super) const SERVICES: Kind = Kind { group: "", version: "v1", kind: "Service", plural: "services" };
/// Parts of the endpoints of services.
pub(super) const ENDPOINT_SLICES: Kind =
    Kind { group: "discovery.k8s.io", version: "v1", kind: "EndpointSlice", plural: "endpointslices" };
/// Addresses of services, by themselves.
pub(super) const IP_ADDRESSES: Kind =
    Kind { group: "networking.k8s.io", version: "v1", kind: "IPAddress", plural: "ipaddresses" };
/// Events.
pub(super) const EVENTS: Kind = Kind { group: "", version: "v1", kind: "Event", plural: "events" };
/// DaemonSets.
pub(super) const DAEMON_SETS: Kind =
    Kind { group: "apps", version: "v1", kind: "DaemonSet", plural: "daemonsets" };

/// An object whose metadata, if nothing else, could be read.
#[derive(Clone, Debug)]
pub(super) struct Loose {
    /// Its metadata, without the history of who wrote what.
    pub(super) metadata: ObjectMeta,
    /// The rest of it.
    pub(super) rest: Value,
    /// What is wrong with its metadata; only its names can be relied upon then.
    pub(super) fault: Option<String>,
}

impl Loose {
    /// Its namespace, empty if it has none.
    pub(super) fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Reads one of its parts; one that is not there is read as an empty one.
    pub(super) fn part<T: for<'de> Deserialize<'de>>(&self, part: &str) -> Result<T, String> {
        static EMPTY: std::sync::LazyLock<Value> =
            std::sync::LazyLock::new(|| Value::Object(Default::default()));
        let found = self.rest.get(part).unwrap_or(&EMPTY);
        T::deserialize(found).map_err(|error| format!("{part}: {error}"))
    }

    /// Its labels.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        self.metadata.labels.clone().unwrap_or_default()
    }

    /// One of its annotations.
    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(name).map(String::as_str)
    }
}

/// Written as it is told to the server: what is in it is ours.
impl Serialize for Loose {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut whole = self.rest.as_object().cloned().unwrap_or_default();
        whole.insert("metadata".to_owned(), serde_json::to_value(&self.metadata).map_err(S::Error::custom)?);
        whole.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut rest = Value::deserialize(deserializer)?;
        let mut written =
            rest.as_object_mut().and_then(|fields| fields.remove("metadata")).unwrap_or_default();
        if let Some(fields) = written.as_object_mut() {
            fields.remove("managedFields");
        }
        match ObjectMeta::deserialize(&written) {
            Ok(metadata) => Ok(Self { metadata, rest, fault: None }),
            Err(error) => {
                let text = |name: &str| written.get(name).and_then(Value::as_str).map(str::to_owned);
                let metadata = ObjectMeta {
                    name: text("name"),
                    namespace: text("namespace"),
                    resource_version: text("resourceVersion"),
                    ..ObjectMeta::default()
                };
                Ok(Self { metadata, rest, fault: Some(format!("metadata: {error}")) })
            }
        }
    }
}

impl Resource for Loose {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
