//! What every Kubernetes object has around its specification.
//!
//! The specification is its kind's own. Whoever reads an object knows its kind already.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

use super::Choice;
use super::metadata::Metadata;
use super::value::Value;

/// An object of a group whose versions are `V`, with the specification `S`.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "a Kubernetes object",
    bound(deserialize = "V: Choice, S: Deserialize<'de>")
)]
pub(super) struct Object<V, S> {
    #[serde(rename = "apiVersion")]
    _api_version: Value<V>,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    /// Whose it is.
    pub(super) metadata: Spanned<Metadata>,
    /// What it says.
    pub(super) spec: S,
    #[serde(rename = "status")]
    _status: Option<IgnoredAny>,
}
