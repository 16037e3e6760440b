//! The container and the volumes that a pod gets.
//!
//! A native sidecar: an init container that is restarted always (Kubernetes 1.29 and later). The app's containers start when
//! its startup probe has succeeded, it is ended after them, and a Job does not wait for it.

use serde_json::{Value, json};

use super::settings::{IdentitySource, Settings};
use super::{CONFIGURATION, CONTAINER};

/// Where the node's cgroup2 hierarchy is in the container.
pub(super) const CGROUP2: &str = "/host/sys/fs/cgroup";
/// Where the certificates are, or the socket that hands them out.
pub(super) const IDENTITY: &str = "/run/secrets/sidestep";
/// Where the configuration is.
const DIRECTORY: &str = "/etc/sidestep";
/// What it is called there.
const FILE: &str = "sidestep.yaml";

/// The container, with the port that it is probed at.
pub(super) fn container(settings: &Settings, admin_port: u16) -> Value {
    let ready = json!({ "path": "/readyz", "port": admin_port });
    let mut mounts = vec![
        json!({ "name": volume("config"), "mountPath": DIRECTORY, "readOnly": true }),
        // A container sees its own cgroup as the root: the one of the pod is reachable through the host's mount only.
        json!({ "name": volume("cgroup2"), "mountPath": CGROUP2, "readOnly": true }),
        // Pins outlive the process: after a crash connections are refused, and the next start adopts them.
        json!({ "name": volume("bpffs"), "mountPath": "/sys/fs/bpf" }),
    ];
    if settings.identity.is_some() {
        mounts.push(json!({ "name": volume("identity"), "mountPath": IDENTITY, "readOnly": true }));
    }
    let mut container = json!({
        "name": CONTAINER,
        "image": settings.image,
        "args": ["sidecar", "--config", format!("{DIRECTORY}/{FILE}")],
        "restartPolicy": "Always",
        "securityContext": {
            // Whatever the pod says for its own containers: capabilities are effective for root only, and the usual AppArmor
            // profile forbids writing below /sys/fs/bpf.
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"], "add": ["BPF", "NET_ADMIN", "SYS_ADMIN"] },
            "seccompProfile": { "type": "RuntimeDefault" },
            "appArmorProfile": { "type": "Unconfined" },
        },
        "startupProbe": {
            "httpGet": ready,
            "periodSeconds": 1,
            "failureThreshold": settings.startup_seconds.max(1),
        },
        "readinessProbe": { "httpGet": ready, "periodSeconds": 5 },
        "resources": settings.resources,
        "volumeMounts": mounts,
    });
    if let Some(policy) = settings.image_pull_policy {
        container["imagePullPolicy"] = json!(policy.as_str());
    }
    container
}

/// The volumes that [`container`] mounts.
pub(super) fn volumes(settings: &Settings) -> Vec<Value> {
    let annotation = format!("metadata.annotations['{CONFIGURATION}']");
    let mut volumes = vec![
        // A changed annotation reaches the running sidecar as soon as the kubelet has renewed the file.
        json!({
            "name": volume("config"),
            "downwardAPI": { "items": [{ "path": FILE, "fieldRef": { "fieldPath": annotation } }] },
        }),
        json!({
            "name": volume("cgroup2"),
            "hostPath": { "path": settings.cgroup_mount, "type": "Directory" },
        }),
        json!({ "name": volume("bpffs"), "hostPath": { "path": "/sys/fs/bpf", "type": "Directory" } }),
    ];
    let source = settings.identity.as_ref().map(|source| match source {
        IdentitySource::CertManager => {
            json!({ "csi": { "driver": "spiffe.csi.cert-manager.io", "readOnly": true } })
        }
        IdentitySource::Spire => json!({ "csi": { "driver": "csi.spiffe.io", "readOnly": true } }),
        IdentitySource::Secret(name) => json!({ "secret": { "secretName": name } }),
    });
    volumes.extend(source.map(|mut source| {
        source["name"] = json!(volume("identity"));
        source
    }));
    volumes
}

/// Whether a volume of that name is one of [`volumes`].
pub(super) fn is_ours(name: &str) -> bool {
    ["config", "cgroup2", "bpffs", "identity"].into_iter().any(|purpose| volume(purpose) == name)
}

fn volume(purpose: &str) -> String {
    format!("{CONTAINER}-{purpose}")
}
