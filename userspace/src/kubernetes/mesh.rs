//! What is known of the mesh beyond the pods of this node: a snapshot, replaced as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Directory, ObjectKey};

/// A resource as it was written; what it means is for others to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`: counts the changes of its specification.
    pub generation: i64,
    /// The object as JSON: `apiVersion`, `kind`, `metadata` (without what the server keeps for itself) and `spec`, no `status`.
    pub json: String,
}

/// What is known of the mesh.
#[derive(Clone, Debug, Default)]
pub struct Mesh {
    /// The pods of this node, and the destinations that were found.
    pub directory: Arc<Directory>,
    /// The resources of the namespaces that matter.
    pub resources: BTreeMap<ObjectKey, Arc<Object>>,
    /// Namespaces whose resources have all been listed at least once, those of the root namespace too: only of these is it
    /// known that a policy that is not in here does not exist.
    pub settled: BTreeSet<String>,
    /// Namespaces whose ReferenceGrants have all been listed at least once.
    pub granting: BTreeSet<String>,
}

/// What the node needs to know the resources of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// The namespaces of the workloads that it serves.
    pub namespaces: BTreeSet<String>,
    /// Whose resources count for all namespaces.
    pub root_namespace: String,
}
