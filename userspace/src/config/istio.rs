//! Istio's `PeerAuthentication` resources, as they are written for Kubernetes.
//!
//! Several to a file. What is of another kind, or has a field that is not known, is an error: a policy that is taken
//! for less than it says is worse than none. What the resources mean together is known by [`crate::policy`].

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

use super::metadata::Metadata;
use super::value::{Port, Value};
use super::yaml::Part;
use super::{Choice, ConfigError};
use crate::policy::{MutualTlsMode, PeerAuthentication};

pub(super) mod destination;

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
            created: metadata.created(),
            namespace: metadata.namespace.0,
            name: metadata.name.0,
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
