//! What Kubernetes holds of policies and routes, object by object, and what it means for each pod of a node.
//!
//! One that is not valid stands back alone. What is done instead is never less strict than what it may have meant: its last
//! good version stays in force, and where there is none, a policy is held *closed* ([`istio`] says how) and a route is
//! as if it were not there.

use std::path::Path;

use super::istio;
use super::resources::{Rejected, Resources, Ungranted};
use crate::model::ObjectKey;
use crate::policy::{Authorization, MutualTls, Subject};

/// An object as the API server gives it.
#[derive(Clone, Copy, Debug)]
pub struct ClusterObject<'a> {
    /// `kind`.
    pub kind: &'a str,
    /// `metadata.namespace`.
    pub namespace: &'a str,
    /// `metadata.name`.
    pub name: &'a str,
    /// All of it.
    pub json: &'a str,
}

impl ClusterObject<'_> {
    /// Which object.
    pub(super) fn key(&self) -> ObjectKey {
        ObjectKey::new(self.kind, self.namespace, self.name)
    }
}

/// The policies and routes that are in force.
#[derive(Debug, Default)]
pub struct Cluster {
    policies: istio::Held,
    resources: Resources,
}

impl Cluster {
    /// Reads every object that there is now; those that did not change since `before` are not parsed again.
    #[must_use]
    pub fn read<'a>(objects: impl IntoIterator<Item = ClusterObject<'a>>, before: &Self) -> Self {
        let mut policies = istio::Held::default();
        let mut resources = Resources::of_cluster();
        for object in objects {
            let ClusterObject { kind, namespace, name, json } = object;
            // What stands for a file in messages.
            let called = format!("{kind} {namespace}/{name}");
            let called = Path::new(&called);
            if istio::Held::takes(kind) {
                policies.read(object, called, &before.policies);
            } else {
                resources.read(called, json);
            }
        }
        Self { policies, resources: resources.keeping(&before.resources) }
    }

    /// What the policies say for one workload.
    #[must_use]
    pub fn policies(&self, subject: Subject<'_>) -> (MutualTls, Authorization) {
        self.policies.decide(subject)
    }

    /// Routes, and what connections to services are held to.
    #[must_use]
    pub const fn resources(&self) -> &Resources {
        &self.resources
    }

    /// The routes that lead where they may not.
    #[must_use]
    pub fn ungranted(&self) -> Vec<Ungranted> {
        self.resources.ungranted()
    }

    /// Every object that is not in force as it is written, and why.
    pub fn rejected(&self) -> impl Iterator<Item = (ObjectKey, String)> {
        let resources = self.resources.rejected().iter();
        let resources =
            resources.filter_map(|Rejected { key, message, .. }| Some((key.clone()?, message.clone())));
        self.policies.rejected().chain(resources)
    }
}

#[cfg(test)]
mod tests;
