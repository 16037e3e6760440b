//! `PeerAuthentication`: which ports take plain text.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::ApiVersion;
use super::findings::Findings;
use super::selector::Selector;
use crate::config::Choice;
use crate::config::object::Object;
use crate::config::value::{Port, Value};
use crate::policy::{MutualTlsMode, PeerAuthentication};

/// One document.
pub(super) type WrittenPeerAuthentication = Object<ApiVersion, Option<Spec>>;

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "the specification of a PeerAuthentication"
)]
pub(super) struct Spec {
    selector: Option<Selector>,
    mtls: Option<Mtls>,
    port_level_mtls: Option<Spanned<BTreeMap<Value<Port>, Option<Mtls>>>>,
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

impl WrittenPeerAuthentication {
    /// The policy, as far as it is one.
    pub(super) fn policy(self, findings: &mut Findings<'_>) -> PeerAuthentication {
        let (metadata, spec) = (self.metadata.value, self.spec.unwrap_or_default());
        let selector = Selector::labels(spec.selector, findings);
        let mut ports = BTreeMap::new();
        if let Some(Spanned { value, referenced, .. }) = spec.port_level_mtls {
            if selector.is_empty() && !value.is_empty() {
                let message = "expected spec.selector.matchLabels beside it, without which ports mean nothing, found none";
                findings.invalid(referenced, "spec.portLevelMtls", message);
            }
            ports.extend(value.into_iter().map(|(Value(Port(port)), mtls)| (port, mode(mtls))));
        }
        PeerAuthentication {
            created: metadata.created(),
            namespace: metadata.namespace.0,
            name: metadata.name.0,
            selector,
            mode: mode(spec.mtls),
            ports,
        }
    }
}

/// The mode that was written, if one was.
fn mode(written: Option<Mtls>) -> Option<MutualTlsMode> {
    written.and_then(|mtls| mtls.mode).and_then(|Value(mode)| mode)
}
