//! `node:`: a node's own settings, as they are written. The other sections of its file hold for each of its pods.

use std::path::PathBuf;

use serde_saphyr::Spanned;
use sidestep_abi::settings::OnFailure;

use super::Document;
use crate::config::settings::{CniSettings, Enrol, NodeSettings};
use crate::config::value::{Count, Hostname, Scalar, Value};
use crate::config::yaml::{Part, section};
use crate::config::{Choice, ConfigError};
use crate::model::TrustDomain;

section!(pub(super) WrittenNode {
    name: Value<Hostname>,
    trust_domain: Value<TrustDomain>,
    cluster_domain: Value<Hostname>,
    kubeconfig: Value<PathBuf>,
    most_destinations: Value<Count>,
    enrol: Value<Enrol>,
    daemon_set: Value<Namespaced>,
    cni: WrittenCni,
});

section!(pub(super) WrittenCni {
    bin_dir: Value<PathBuf>,
    conf_dir: Value<PathBuf>,
    socket: Value<PathBuf>,
    on_failure: Value<OnFailure>,
});

impl Choice for Enrol {
    const WORDS: &'static [(&'static str, Self)] = &[("labelled", Self::Labelled), ("all", Self::All)];
}

/// NAMESPACE/NAME.
#[derive(Debug)]
pub(super) struct Namespaced(String, String);

impl Scalar for Namespaced {
    fn expected() -> String {
        "NAMESPACE/NAME".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self(namespace.to_owned(), name.to_owned()))
            }
            _ => Err(format!("expected {}, found {text:?}", Self::expected())),
        }
    }
}

impl WrittenNode {
    pub(super) fn settings(self) -> NodeSettings {
        let defaults = NodeSettings::default();
        NodeSettings {
            name: self.name.map(|Value(Hostname(name))| name),
            trust_domain: super::or(self.trust_domain, defaults.trust_domain),
            cluster_domain: self
                .cluster_domain
                .map_or(defaults.cluster_domain, |Value(Hostname(domain))| domain),
            kubeconfig: self.kubeconfig.map(|Value(path)| path),
            most_destinations: self
                .most_destinations
                .map_or(defaults.most_destinations, |Value(Count(count))| count),
            enrol: super::or(self.enrol, defaults.enrol),
            daemon_set: self.daemon_set.map(|Value(Namespaced(namespace, name))| (namespace, name)),
            cni: self.cni.map(WrittenCni::settings),
        }
    }
}

impl WrittenCni {
    fn settings(self) -> CniSettings {
        let defaults = CniSettings::default();
        CniSettings {
            bin_dir: super::or(self.bin_dir, defaults.bin_dir),
            conf_dir: super::or(self.conf_dir, defaults.conf_dir),
            socket: super::or(self.socket, defaults.socket),
            on_failure: super::or(self.on_failure, defaults.on_failure),
        }
    }
}

impl Document {
    /// Refuses the sections that are about one workload in the file of a node.
    pub(super) fn expect_for_node(
        &self,
        node: &Spanned<WrittenNode>,
        part: Part<'_>,
    ) -> Result<(), ConfigError> {
        let about_one = [
            ("workload", self.workload.is_some()),
            ("labels", self.labels.is_some()),
            ("workloads", self.workloads.is_some()),
            ("services", self.services.is_some()),
            ("policies", self.policies.is_some()),
            ("routes", self.routes.is_some()),
            ("originate-tls", self.originate_tls.is_some()),
            ("serve-tls", self.serve_tls.is_some()),
            ("explicit", self.explicit.is_some()),
        ];
        let Some((section, _)) = about_one.into_iter().find(|(_, there)| *there) else { return Ok(()) };
        let message = format!(
            "expected sections that hold for every pod beside it, found {section}: Kubernetes says that of each pod"
        );
        Err(part.invalid(node.referenced, "node", message))
    }
}
