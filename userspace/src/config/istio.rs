//! Istio's `PeerAuthentication` resources, as they are written for Kubernetes.
//!
//! Several to a file. What is of another kind, or has a field that is not known, is an error: a policy that is taken
//! for less than it says is worse than none. What the resources mean together is known by [`crate::policy`].

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

use super::value::{Port, Scalar, Value};
use super::yaml::Part;
use super::{Choice, ConfigError};
use crate::policy::{MutualTlsMode, PeerAuthentication};

/// One document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "a PeerAuthentication")]
struct Resource {
    #[serde(rename = "apiVersion")]
    _api_version: Value<ApiVersion>,
    #[serde(rename = "kind")]
    _kind: Value<Kind>,
    metadata: Spanned<Metadata>,
    spec: Option<Spec>,
    #[serde(rename = "status")]
    _status: Option<IgnoredAny>,
}

/// Declares what Kubernetes keeps of every object: the fields that mean something here, and those that do not.
macro_rules! metadata {
    ({ $($field:ident: $type:ty),+ $(,)? } ignoring { $($ignored:ident = $name:literal),+ $(,)? }) => {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "the metadata of an object")]
        struct Metadata {
            $($field: $type,)+
            $(#[serde(rename = $name)] $ignored: Option<IgnoredAny>,)+
        }
    };
}

metadata!({
    name: Value<String>,
    namespace: Value<String>,
    creation_timestamp: Option<Value<Timestamp>>,
} ignoring {
    _annotations = "annotations",
    _deletion_grace_period = "deletionGracePeriodSeconds",
    _deletion_timestamp = "deletionTimestamp",
    _finalizers = "finalizers",
    _generate_name = "generateName",
    _generation = "generation",
    _labels = "labels",
    _managed_fields = "managedFields",
    _owner_references = "ownerReferences",
    _resource_version = "resourceVersion",
    _self_link = "selfLink",
    _uid = "uid",
});

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "the specification of a PeerAuthentication"
)]
struct Spec {
    selector: Option<Selector>,
    mtls: Option<Mtls>,
    port_level_mtls: Option<Spanned<BTreeMap<Value<Port>, Option<Mtls>>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "a selector with matchLabels")]
struct Selector {
    match_labels: Option<BTreeMap<String, Value<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mode such as { mode: STRICT }")]
struct Mtls {
    mode: Option<Value<Option<MutualTlsMode>>>,
}

impl Choice for Option<MutualTlsMode> {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("UNSET", None),
        ("DISABLE", Some(MutualTlsMode::Disable)),
        ("PERMISSIVE", Some(MutualTlsMode::Permissive)),
        ("STRICT", Some(MutualTlsMode::Strict)),
    ];
}

/// The one group of resources that is read; its versions are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ApiVersion;

impl Choice for ApiVersion {
    const WORDS: &'static [(&'static str, Self)] =
        &[("security.istio.io/v1", Self), ("security.istio.io/v1beta1", Self)];
}

/// The one kind of resource that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind;

impl Choice for Kind {
    const WORDS: &'static [(&'static str, Self)] = &[("PeerAuthentication", Self)];
}

/// Seconds of Unix time, written as RFC 3339 has it.
#[derive(Debug)]
struct Timestamp(u64);

impl Scalar for Timestamp {
    fn expected() -> String {
        "a time such as 2026-01-31T12:00:00Z".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let time = humantime::parse_rfc3339(text).ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let time = time.map(|since| Self(since.as_secs()));
        time.ok_or_else(|| format!("expected {}, found {text:?}", Self::expected()))
    }
}

/// Resources from several files, each there once.
#[derive(Debug, Default)]
pub(super) struct Resources {
    read: Vec<PeerAuthentication>,
    /// In which file each was found.
    files: HashMap<(String, String), PathBuf>,
}

impl Resources {
    /// The resources that were read.
    pub(super) fn into_list(self) -> Vec<PeerAuthentication> {
        self.read
    }

    /// Reads the resources of one more file.
    ///
    /// # Errors
    ///
    /// Whatever is not a `PeerAuthentication`, and one that was read before.
    pub(super) fn read(&mut self, file: &Path, text: &str) -> Result<(), ConfigError> {
        for part in Part::whole(file, text).documents() {
            let Some(resource) = part.read::<Resource>()? else { continue };
            let at = resource.metadata.referenced;
            let resource = resource.peer_authentication(part)?;
            let key = (resource.namespace.clone(), resource.name.clone());
            if let Some(other) = self.files.insert(key, file.to_owned()) {
                let message = format!(
                    "expected every resource once, found {}/{} again (the other is in {})",
                    resource.namespace,
                    resource.name,
                    other.display()
                );
                return Err(part.invalid(at, "metadata", message));
            }
            self.read.push(resource);
        }
        Ok(())
    }
}

impl Resource {
    fn peer_authentication(self, part: Part<'_>) -> Result<PeerAuthentication, ConfigError> {
        let (metadata, spec) = (self.metadata.value, self.spec.unwrap_or_default());
        let selector = spec.selector.and_then(|selector| selector.match_labels).unwrap_or_default();
        let mut ports = BTreeMap::new();
        if let Some(Spanned { value, referenced, .. }) = spec.port_level_mtls {
            if selector.is_empty() && !value.is_empty() {
                let message = "expected spec.selector.matchLabels beside it, without which ports mean nothing, found none";
                return Err(part.invalid(referenced, "spec.portLevelMtls", message));
            }
            ports.extend(value.into_iter().map(|(Value(Port(port)), mtls)| (port, mode(mtls))));
        }
        Ok(PeerAuthentication {
            namespace: metadata.namespace.0,
            name: metadata.name.0,
            created: metadata.creation_timestamp.map(|Value(Timestamp(seconds))| seconds),
            selector: selector.into_iter().map(|(key, Value(value))| (key, value)).collect(),
            mode: mode(spec.mtls),
            ports,
        })
    }
}

/// The mode that was written, if one was.
fn mode(written: Option<Mtls>) -> Option<MutualTlsMode> {
    written.and_then(|mtls| mtls.mode).and_then(|Value(mode)| mode)
}

#[cfg(test)]
mod tests;
