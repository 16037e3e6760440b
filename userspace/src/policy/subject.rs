//! Whom policies are meant for.

use std::collections::BTreeMap;

/// The workload that a decision is for.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The trust domain of the mesh: what policies call `cluster.local`.
    pub trust_domain: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The namespace whose resources are for the whole mesh.
    pub root_namespace: &'a str,
}

impl Subject<'_> {
    /// Whether a resource of `namespace` with these `matchLabels` is meant for this workload.
    ///
    /// A selector in the root namespace selects in every namespace: so Istio's reference says.
    #[must_use]
    pub fn is_meant_by(self, namespace: &str, selector: &BTreeMap<String, String>) -> bool {
        (namespace == self.root_namespace || namespace == self.namespace)
            && selector.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }
}
