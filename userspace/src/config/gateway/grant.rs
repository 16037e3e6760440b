//! The Gateway API's `ReferenceGrant`, as it is written for Kubernetes. What it says of other kinds than routes and services
//! is somebody else's.

use serde::Deserialize;

use super::value::Label;
use super::{Value, is_core};
use crate::config::Choice;
use crate::config::object::Object;
use crate::routing::{Granted, ReferenceGrant};

/// One document.
pub(in crate::config) type WrittenGrant = Object<GrantVersion, GrantSpec>;

/// The one group; its versions are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct GrantVersion;

impl Choice for GrantVersion {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("gateway.networking.k8s.io/v1beta1", Self),
        ("gateway.networking.k8s.io/v1", Self),
        ("gateway.networking.k8s.io/v1alpha2", Self),
    ];
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "the specification of a ReferenceGrant, with from and to")]
pub(in crate::config) struct GrantSpec {
    from: Vec<WrittenFrom>,
    to: Vec<WrittenTo>,
}

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "whose references are granted, such as { group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop }"
)]
struct WrittenFrom {
    group: Value<String>,
    kind: Value<String>,
    namespace: Value<Label>,
}

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "what they may refer to, such as { group: \"\", kind: Service, name: web }"
)]
struct WrittenTo {
    group: Value<String>,
    kind: Value<String>,
    name: Option<Value<String>>,
}

impl WrittenGrant {
    /// What it grants to routes.
    pub(in crate::config) fn grant(self) -> ReferenceGrant {
        let is_route =
            |from: &WrittenFrom| from.group.0 == "gateway.networking.k8s.io" && from.kind.0 == "HTTPRoute";
        let is_service = |to: &WrittenTo| is_core(Some(&to.group)) && to.kind.0 == "Service";
        let from = self.spec.from.into_iter().filter(is_route).map(|from| from.namespace.0.0).collect();
        let named = self.spec.to.into_iter().filter(is_service).map(|to| to.name.map(|Value(name)| name));
        // One without a name is for all of them.
        let to = named.collect::<Option<_>>().map_or(Granted::All, Granted::Named);
        ReferenceGrant { namespace: self.metadata.value.namespace.0, from, to }
    }
}
