//! What Kubernetes says, in the form in which pods are served by it: read once for all of them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Result;

use crate::config::{Cluster, ClusterObject, Config};
use crate::kubernetes::{Mesh, News, Object, ObjectKey};
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
        let rejected: Vec<_> = self.cluster.rejected().collect();
        self.mesh.resources.iter().map(move |(key, object)| {
            let is_it = |other: &ObjectKey| other == key;
            let why = rejected.iter().find(|(rejected, _)| {
                is_it(&ObjectKey {
                    kind: rejected.kind.clone(),
                    namespace: rejected.namespace.clone(),
                    name: rejected.name.clone(),
                })
            });
            let Object { generation, .. } = **object;
            let honoured = why.map_or(Ok(()), |(_, why)| Err(why.clone()));
            News::Condition { key: key.clone(), generation, honoured }
        })
    }

    /// The namespaces of pods, whose policies are needed.
    pub(super) fn namespaces<'a>(pods: impl Iterator<Item = &'a Pod>) -> BTreeSet<String> {
        pods.map(|pod| pod.key.namespace.clone()).collect()
    }
}
