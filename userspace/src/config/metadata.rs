//! What Kubernetes keeps of every object: read alike for all kinds, and mostly ignored.

use std::time::UNIX_EPOCH;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

use super::value::{Scalar, Value};

/// Declares what Kubernetes keeps of every object: the fields that mean something here, and those that do not.
macro_rules! metadata {
    ({ $($field:ident: $type:ty),+ $(,)? } ignoring { $($ignored:ident = $name:literal),+ $(,)? }) => {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "the metadata of an object")]
        pub(super) struct Metadata {
            $(pub(super) $field: $type,)+
            $(#[serde(rename = $name)] $ignored: Option<IgnoredAny>,)+
        }
    };
}

metadata!({
    name: Value<String>,
    namespace: Value<String>,
    creation_timestamp: Option<Value<Timestamp>>,
    annotations: Option<Annotations>,
} ignoring {
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

impl Metadata {
    /// When the object was made, in seconds of Unix time.
    pub(super) fn created(&self) -> Option<u64> {
        self.creation_timestamp.as_ref().map(|Value(Timestamp(seconds))| *seconds)
    }
}

/// The notes of others on an object. Of these only one is ours to read, and only some kinds know it.
#[derive(Debug, Deserialize)]
#[serde(expecting = "annotations")]
pub(super) struct Annotations {
    /// Whether a policy is only tried.
    #[serde(rename = "istio.io/dry-run")]
    pub(super) dry_run: Option<Spanned<Value<String>>>,
}

/// Seconds of Unix time, written as RFC 3339 has it.
#[derive(Debug)]
pub(super) struct Timestamp(u64);

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
