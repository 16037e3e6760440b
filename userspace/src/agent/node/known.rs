//! What Kubernetes says, in the form in which pods are served by it: read once for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Result;

use crate::config::{Cluster, ClusterObject, Config};
use crate::kubernetes::{Mesh, News};
use crate::model::{Destination, OriginalDst, Pod};

/// A snapshot of the mesh with its meaning.
#[derive(Clone, Default)]
pub(super) struct Known {
    pub(super) mesh: Arc<Mesh>,
    pub(super) cluster: Arc<Cluster>,
}

impl Known {
    /// The meaning of a newer snapshot. Parses what is new in it: not for a thread that others wait for.
    pub(super) fn renewed(&self, mesh: Arc<Mesh>) -> Self {
        let same = mesh.resources.len() == self.mesh.resources.len()
            && mesh.resources.iter().zip(&self.mesh.resources).all(|((key, object), (known, before))| {
                key == known && (Arc::ptr_eq(object, before) || object == before)
            });
        let cluster = if same {
            Arc::clone(&self.cluster)
        } else {
            let objects = mesh.resources.iter().map(|(key, object)| ClusterObject {
                kind: &key.kind,
                namespace: &key.namespace,
                name: &key.name,
                json: &object.json,
            });
            Arc::new(Cluster::read(objects, &self.cluster))
        };
        Self { mesh, cluster }
    }

    /// Whether every policy of a namespace is in here.
    pub(super) fn has_policies_of(&self, namespace: &str) -> bool {
        self.mesh.settled.contains(namespace)
    }

    /// Whether it is known who has an address.
    pub(super) fn knows(&self, address: IpAddr) -> bool {
        let destination = OriginalDst((address, 0).into());
        !matches!(self.mesh.directory.resolve(destination), Destination::Unknown)
    }

    /// What holds for a pod.
    pub(super) fn config_of(&self, node: &Config, pod: &Pod) -> Result<Config> {
        Ok(node.of_pod(pod, &self.cluster, &self.mesh.directory)?)
    }

    /// How every resource stands.
    pub(super) fn conditions(&self) -> impl Iterator<Item = News> {
        let mut rejected: BTreeMap<_, _> = self.cluster.rejected().collect();
        let ungranted =
            self.cluster.ungranted().into_iter().map(|ungranted| (ungranted.key.clone(), ungranted));
        let mut ungranted: BTreeMap<_, _> = ungranted.collect();
        self.mesh.resources.iter().map(move |(key, object)| News::Condition {
            key: key.clone(),
            generation: object.generation,
            honoured: rejected.remove(key).map_or(Ok(()), Err),
            permitted: match ungranted.remove(key) {
                None => Some(Ok(())),
                // What a namespace grants is known only where somebody talks to it.
                Some(of) => of.namespaces.is_subset(&self.mesh.granting).then_some(Err(of.message)),
            },
        })
    }

    /// The namespaces of pods, whose policies are needed.
    pub(super) fn namespaces<'a>(pods: impl Iterator<Item = &'a Pod>) -> BTreeSet<String> {
        pods.map(|pod| pod.key.namespace.clone()).collect()
    }
}
