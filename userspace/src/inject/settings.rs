//! What is the same for every pod that gets a sidecar.

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The file of `sidestep webhook` and `sidestep inject`. Every field may be absent, none may be unknown.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a mapping of settings")]
pub struct Settings {
    /// The image that holds `sidestep`.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`; the kubelet's choice if absent.
    pub image_pull_policy: Option<PullPolicy>,
    /// The trust domain of the pods' identities.
    pub trust_domain: String,
    /// Where their certificates come from; without it the sidecars have none, and make no tunnels.
    pub identity: Option<IdentitySource>,
    /// Where nodes have mounted the cgroup2 hierarchy.
    pub cgroup_mount: String,
    /// The container's `resources`, as Kubernetes writes them.
    pub resources: Map<String, Value>,
    /// Seconds that the sidecar may take until it captures. The app's containers wait for it.
    pub startup_seconds: u32,
    /// Sections of the sidecar's configuration. What the pod alone knows is added to them: labels, identity, probes.
    pub sidecar: Map<String, Value>,
}

/// When the kubelet pulls an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// Unless the node has it.
    IfNotPresent,
    /// Never: the node has it.
    Never,
}

impl PullPolicy {
    /// As Kubernetes writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// Where the certificates of pods come from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", expecting = "cert-manager, spire, or { secret: NAME }")]
pub enum IdentitySource {
    /// cert-manager's CSI driver for SPIFFE (`spiffe.csi.cert-manager.io`) writes them into a volume of the pod.
    CertManager,
    /// SPIRE's agent on the node, whose socket its CSI driver (`csi.spiffe.io`) mounts.
    Spire,
    /// A Secret in the pod's namespace with `tls.crt`, `tls.key` and `ca.crt`.
    Secret(String),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            image: "localhost/sidestep:latest".to_owned(),
            image_pull_policy: Some(PullPolicy::IfNotPresent),
            trust_domain: "cluster.local".to_owned(),
            identity: None,
            cgroup_mount: "/sys/fs/cgroup".to_owned(),
            resources: mapping(json!({
                "requests": { "cpu": "10m", "memory": "16Mi" },
                "limits": { "memory": "256Mi" },
            })),
            startup_seconds: 30,
            sidecar: mapping(json!({
                // The cloud's metadata service stays out of it.
                "outbound": { "default": "proxy", "rules": [{ "direct": "169.254.169.254" }] },
                "inbound": { "ports": "all" },
                "access-log": { "path": "-", "format": "json" },
            })),
        }
    }
}

fn mapping(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
