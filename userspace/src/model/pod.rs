//! A pod of Kubernetes, as far as a node needs to know it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// Which pod: names are unique within a namespace at a time, not over time ([`Pod::uid`] is).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodKey {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl PodKey {
    /// The pod of that name.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// A pod that is scheduled to our node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub key: PodKey,
    /// `metadata.uid`, or for a static pod the uid that the kubelet knows it by (`kubernetes.io/config.hash`).
    pub uid: String,
    /// `spec.serviceAccountName`, `default` if there is none.
    pub service_account: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations` under `sidestep.io/` and `ambient.istio.io/`.
    pub annotations: BTreeMap<String, String>,
    /// `status.podIPs`; empty until the kubelet has told them.
    pub addresses: Vec<IpAddr>,
    /// Whose network it has.
    pub network: Network,
    /// How far it is.
    pub phase: Phase,
}

/// Whose network a pod has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// One of its own.
    #[default]
    Own,
    /// The node's (`hostNetwork: true`).
    Host,
}

/// How far a pod is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Its containers may not have started.
    #[default]
    Pending,
    /// At least one of its containers runs.
    Running,
    /// All have ended, and none will be started again (`Succeeded`, `Failed`).
    Ended,
}

/// The pods of our node, and the labels of their namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// Whether both have been listed once: what is not in here then is not there.
    pub listed: bool,
    /// By name.
    pub pods: BTreeMap<PodKey, std::sync::Arc<Pod>>,
    /// `metadata.labels` of namespaces.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
}
