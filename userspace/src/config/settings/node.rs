//! `node:`: what serving all pods of a node needs besides what holds for each of them.

use std::path::PathBuf;

use sidestep_abi::settings::OnFailure;

use crate::model::TrustDomain;

/// `node:`, needs a restart to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// `name`: the node's name in Kubernetes; by default the environment variable `NODE_NAME`, or the host's name.
    pub name: Option<String>,
    /// `trust-domain`: that of every workload; default `cluster.local`.
    pub trust_domain: TrustDomain,
    /// `cluster-domain`: what the names of services end with; default `cluster.local`.
    pub cluster_domain: String,
    /// `kubeconfig`: how the API server is reached; by default as a pod does.
    pub kubeconfig: Option<PathBuf>,
    /// `most-destinations`: how many services and pods are remembered that enrolled workloads talk to; default 4,096.
    pub most_destinations: usize,
    /// `enrol`: which pods are served where neither they nor their namespace say so; default none.
    pub enrol: Enrol,
    /// `daemon-set`: NAMESPACE/NAME of what runs this process. Once it is gone, a stop removes everything.
    pub daemon_set: Option<(String, String)>,
    /// `cni`: how pods are enrolled before they begin; if absent, only those that run are.
    pub cni: Option<CniSettings>,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            name: None,
            trust_domain: "cluster.local".parse().expect("a trust domain"),
            cluster_domain: "cluster.local".to_owned(),
            kubeconfig: None,
            most_destinations: 4_096,
            enrol: Enrol::Labelled,
            daemon_set: None,
            cni: None,
        }
    }
}

/// Which pods are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enrol {
    /// Those that say so, or whose namespace does.
    #[default]
    Labelled,
    /// All but those that say otherwise, or whose namespace does.
    All,
}

/// `node.cni:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CniSettings {
    /// `bin-dir`: where the runtime looks for plugins, as this process sees it; default `/opt/cni/bin`.
    pub bin_dir: PathBuf,
    /// `conf-dir`: where it looks for networks, as this process sees it; default `/etc/cni/net.d`.
    pub conf_dir: PathBuf,
    /// `socket`: where the plugin asks; the same for this process and on the node; default `/run/sidestep/cni/agent.sock`.
    pub socket: PathBuf,
    /// `on-failure`: what becomes of a new pod while this process cannot be asked; default `closed`: it does not start.
    pub on_failure: OnFailure,
}

impl Default for CniSettings {
    fn default() -> Self {
        Self {
            bin_dir: "/opt/cni/bin".into(),
            conf_dir: "/etc/cni/net.d".into(),
            socket: "/run/sidestep/cni/agent.sock".into(),
            on_failure: OnFailure::Closed,
        }
    }
}
