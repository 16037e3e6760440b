//! What the feed has to be told before it can begin.

use std::path::PathBuf;

use crate::model::TrustDomain;

/// What the feed has to be told before it can begin.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the node whose pods it follows (`spec.nodeName`).
    pub node: String,
    /// Who vouches for the identities of the mesh.
    pub trust_domain: TrustDomain,
    /// What the names of services end with, usually `cluster.local`.
    pub cluster_domain: String,
    /// Where the API server is.
    pub api: Api,
    /// How many destinations are known at a time, at most; those that were asked for longest ago are forgotten first.
    pub most_destinations: usize,
}

/// Where the API server is, and who it is told that we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Api {
    /// As the service account of the pod that we are in.
    InCluster,
    /// As a file says that `kubectl` reads too.
    Kubeconfig(PathBuf),
}
