//! Policies of a cluster: each stands for itself, and one that cannot be honoured is held closed.
//!
//! Its last good version stays in force. Where there is none: an `AuthorizationPolicy` lets nobody in whom it selects (one
//! that only allows counts as one whose rules never match), a `PeerAuthentication` is `STRICT`. A policy with a target is for a
//! gateway or a waypoint and for no workload, so that it stands back.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::document::{Document, Kind, Policy};
use crate::config::cluster::ClusterObject;
use crate::config::yaml::Part;
use crate::config::{Choice, ConfigError};
use crate::model::ObjectKey;
use crate::policy::{
    Action, Authorization, AuthorizationPolicy, AuthorizationRule, MutualTls, MutualTlsMode,
    PeerAuthentication, Subject,
};

/// Policies that are in force, and those that are not as they are written.
#[derive(Debug, Default)]
pub(in crate::config) struct Held {
    peers: Vec<PeerAuthentication>,
    authorizations: Vec<AuthorizationPolicy>,
    rejected: Vec<(ObjectKey, String)>,
    /// The version of each that is in force, with the text that says it; none for one that is held closed.
    good: HashMap<ObjectKey, (Arc<str>, Policy)>,
}

/// As much of a policy as says whom it is meant for, whatever else is in it.
#[derive(Debug, Default, Deserialize)]
struct Gist {
    spec: Option<GistSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GistSpec {
    selector: Option<GistSelector>,
    action: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GistSelector {
    match_labels: Option<BTreeMap<String, String>>,
}

impl Held {
    /// Whether a kind is one of policies.
    pub(in crate::config) fn takes(kind: &str) -> bool {
        Kind::from_word(kind).is_some()
    }

    /// Reads one policy; `before` knows the last good versions, and spares reading those that did not change.
    pub(in crate::config) fn read(&mut self, object: ClusterObject<'_>, called: &Path, before: &Self) {
        let Some(kind) = Kind::from_word(object.kind) else { return };
        let key = object.key();
        let last = before.good.get(&key);
        if let Some((text, policy)) = last
            && **text == *object.json
        {
            return self.keep(key, Arc::clone(text), policy.clone());
        }
        let error = match Document::of_kind(kind, Part::whole(called, object.json)) {
            Ok(None) => return,
            Ok(Some(Document { policy, findings, .. })) => {
                match findings.valid().map(|found| found.into_iter().next()) {
                    Ok(None) => return self.keep(key, object.json.into(), policy),
                    Ok(Some(error)) | Err(error) => error,
                }
            }
            Err(error) => error,
        };
        self.rejected.push((key.clone(), error.to_string()));
        match last {
            _ if is_about_target(&error) => {}
            Some((text, policy)) => self.keep(key, Arc::clone(text), policy.clone()),
            None => self.add(closed(kind, object)),
        }
    }

    fn keep(&mut self, key: ObjectKey, text: Arc<str>, policy: Policy) {
        self.good.insert(key, (text, policy.clone()));
        self.add(policy);
    }

    fn add(&mut self, policy: Policy) {
        match policy {
            Policy::Peer(policy) => self.peers.push(policy),
            Policy::Authorization(policy) => self.authorizations.push(policy),
        }
    }

    /// What the policies say for one workload.
    pub(in crate::config) fn decide(&self, subject: Subject<'_>) -> (MutualTls, Authorization) {
        (MutualTls::decide(&self.peers, subject), Authorization::of(&self.authorizations, subject))
    }

    /// Those that are not in force as they are written, and why.
    pub(in crate::config) fn rejected(&self) -> impl Iterator<Item = (ObjectKey, String)> {
        self.rejected.iter().cloned()
    }
}

/// Whether a policy is refused because of its target.
fn is_about_target(error: &ConfigError) -> bool {
    matches!(error, ConfigError::Invalid { field, .. } if field.starts_with("spec.targetRef"))
}

/// What stands for a policy that cannot be honoured.
fn closed(kind: Kind, object: ClusterObject<'_>) -> Policy {
    let gist = serde_json::from_str::<Gist>(object.json).unwrap_or_default().spec.unwrap_or_default();
    let selector = gist.selector.and_then(|selector| selector.match_labels).unwrap_or_default();
    let (namespace, name) = (object.namespace.to_owned(), object.name.to_owned());
    match kind {
        Kind::PeerAuthentication => Policy::Peer(PeerAuthentication {
            namespace,
            name,
            // The oldest of its level: the one that counts.
            created: None,
            selector,
            mode: Some(MutualTlsMode::Strict),
            ports: BTreeMap::new(),
        }),
        Kind::AuthorizationPolicy => {
            let (action, rules) = match gist.action.as_deref() {
                None | Some("" | "ALLOW") => (Action::Allow, Vec::new()),
                Some("AUDIT") => (Action::Audit, Vec::new()),
                Some(_) => (Action::Deny, vec![AuthorizationRule::default()]),
            };
            Policy::Authorization(AuthorizationPolicy {
                namespace,
                name,
                selector,
                action,
                rules,
                dry_run: false,
            })
        }
    }
}
