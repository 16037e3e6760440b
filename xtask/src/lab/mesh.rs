//! Workloads that know each other by identity, as the product's configuration puts it.

use std::net::IpAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::Pod;

/// Whom every identity of a lab belongs to.
pub(crate) const TRUST_DOMAIN: &str = "cluster.local";
/// The Kubernetes namespace that all workloads of a lab say they are in.
pub(crate) const NAMESPACE: &str = "lab";

/// A workload with an identity: its service account is called as it is itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    name: &'static str,
    addresses: [IpAddr; 2],
}

impl Member {
    /// The workload that lives in a pod.
    pub(crate) fn of(name: &'static str, pod: &Pod) -> Self {
        Self { name, addresses: pod.addresses() }
    }

    /// What its certificate says.
    pub(crate) fn identity(&self) -> String {
        format!("spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{}", self.name)
    }

    /// The sections of its sidecar's configuration: who it is, signed for by the authority in a directory, and that
    /// everybody in `all` speaks the tunnel.
    pub(crate) fn sections(&self, authority: &Path, all: &[Self]) -> Value {
        let workloads: Vec<Value> = all.iter().map(Self::listed).collect();
        json!({
            "identity": { "id": self.identity(), "signing-ca": { "directory": authority } },
            "workloads": workloads,
        })
    }

    fn listed(&self) -> Value {
        json!({
            "name": self.name,
            "namespace": NAMESPACE,
            "service-account": self.name,
            "addresses": self.addresses,
            "tunnel": true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_says_who_it_is_and_knows_everybody() {
        let member = |name, last: u8| Member {
            name,
            addresses: [
                IpAddr::from([10, 78, 0, last]),
                IpAddr::from([0xfd78, 0, 0, 0, 0, 0, 0, last.into()]),
            ],
        };
        let all = [member("client", 1), member("server", 2)];
        let sections = all[0].sections(Path::new("/ca"), &all);
        assert_eq!(sections["identity"]["id"], "spiffe://cluster.local/ns/lab/sa/client");
        assert_eq!(sections["identity"]["signing-ca"]["directory"], "/ca");
        assert_eq!(sections["workloads"][1]["addresses"], json!(["10.78.0.2", "fd78::2"]));
        assert_eq!(sections["workloads"][1]["tunnel"], true);
    }
}
