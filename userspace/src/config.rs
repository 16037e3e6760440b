//! Files and flags become meaning: a [`Config`] is valid by construction.
//!
//! The file is YAML. What is unknown, contradicting or out of range is an error that names the file, the line, the
//! field, what was expected and what was found; nothing is guessed and nothing ignored. Decides nothing itself:
//! which verdict a destination gets is [`crate::policy`]'s business, and what to do with a setting is its user's.

mod choice;
mod cluster;
mod error;
mod file;
mod gateway;
mod inbound;
mod istio;
mod metadata;
mod object;
mod pod;
mod resources;
mod settings;
mod shown;
mod sources;
mod value;
mod watch;
mod workload;
mod yaml;

use std::path::Path;
use std::sync::Arc;

pub use choice::Choice;
pub use cluster::{Cluster, ClusterObject};
pub use error::{ConfigError, Place};
pub use inbound::InboundPorts;
pub use istio::{Finding, Lint, Weight, lint};
pub use resources::{Rejected, Resources, Ungranted};
use serde::de::DeserializeOwned;
pub use settings::{
    AccessLogSettings, AdminSettings, CaptureMode, CaptureSettings, CertificateSource, CniSettings, Enrol,
    HttpSettings, IdentitySettings, LogDestination, LogFormat, Looking, NodeSettings, OutboundSettings,
    RelaySettings, TunnelSettings, Unknown,
};
pub use settings::{
    CertificateFiles, EdgeSettings, OriginateProtocol, OriginateSettings, ServeProtocol, ServeSettings,
};
pub use settings::{LogExport, TraceProtocol, TracingSettings};
use sources::Sources;
pub use watch::{Watch, watch};
pub use workload::{WorkloadName, WorkloadNameError};
use yaml::Part;

use crate::model::{Directory, Identity, PathForm};
use crate::policy::{Authorization, MutualTls};
use crate::routing::{Destinations, RateLimit, Routes};

/// Bytes that a configuration file may have: room for as many rules as the kernel's tables hold, several times over.
pub const FILE_LIMIT: u64 = 16 * 1024 * 1024;

/// The namespace that Istio is installed in unless it is told otherwise.
const ROOT_NAMESPACE: &str = "istio-system";

/// Everything that can be configured.
///
/// The default one, which is what an absent file means, captures all outbound TCP through the instance and all
/// inbound ports, refuses nothing, and fails closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// What the workload is called in logs, metrics and pins; the host's name if it has none of its own.
    pub workload: Option<WorkloadName>,
    /// Who the workload is to others; without it there are no tunnels.
    pub identity: Option<IdentitySettings>,
    /// How connections get to the instance.
    pub capture: CaptureSettings,
    /// Connections that the workload makes.
    pub outbound: OutboundSettings,
    /// Inbound ports as written; [`Self::inbound_ports`] is what to capture.
    inbound: InboundPorts,
    /// How the instance treats what it carries.
    pub relay: RelaySettings,
    /// How tunnels are kept.
    pub tunnel: TunnelSettings,
    /// Which connections are looked at for HTTP; none if absent.
    pub http: Option<HttpSettings>,
    /// What is known of other workloads and of services.
    pub directory: Arc<Directory>,
    /// Which ports take plain text, and from whom.
    pub mutual_tls: MutualTls,
    /// Who may do what to the workload.
    pub authorization: Arc<Authorization>,
    /// In which form policies compare the paths of requests.
    pub path_form: PathForm,
    /// What the instance does at the edge of the workload.
    pub edge: EdgeSettings,
    /// Routes, and what the connections to services are held to.
    pub resources: Resources,
    /// How many requests a time allows.
    pub rate_limits: Vec<RateLimit>,
    /// The namespace whose resources are for the whole mesh, if not [`ROOT_NAMESPACE`].
    root_namespace: Option<String>,
    /// The workload's namespace, where another than its identity says it.
    namespace: Option<String>,
    /// What serving a node needs; absent in the file of one workload.
    pub node: Option<NodeSettings>,
    /// Where readiness, liveness and metrics are served; nowhere if absent.
    pub admin: Option<AdminSettings>,
    /// Where connections are logged; nowhere if absent.
    pub access_log: Option<AccessLogSettings>,
    /// Where spans of requests go; nothing is traced if absent.
    pub tracing: Option<TracingSettings>,
}

impl Config {
    /// The inbound ports to capture: the configured ones without those that the instance serves itself (`admin`, `serve-tls`).
    #[must_use]
    pub fn inbound_ports(&self) -> InboundPorts {
        let ours = self.edge.serve.iter().map(|serve| serve.listen.port());
        let ours = ours.chain(self.admin.iter().map(|admin| admin.address.port()));
        ours.fold(self.inbound.clone(), InboundPorts::without)
    }

    /// Captures exactly these inbound ports (still without the admin port).
    pub fn set_inbound_ports(&mut self, ports: InboundPorts) {
        self.inbound = ports;
    }

    /// Reads a configuration from text, and the files that it names; `file` is what error messages call it.
    ///
    /// # Errors
    ///
    /// Whatever is not a valid configuration, the first thing found.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        file::parse(file, text, &mut Sources::default())
    }

    /// The routes in force, by service.
    #[must_use]
    pub fn routes(&self) -> Routes {
        Routes::new(&self.resources.routes(), &self.directory, self.own_namespace())
    }

    /// What the connections to services are held to.
    #[must_use]
    pub fn destinations(&self) -> Destinations {
        Destinations::new(&self.resources.destination_rules(), self.own_namespace(), self.root_namespace())
    }

    /// The namespace of the workload, if the file says who it is.
    fn own_namespace(&self) -> Option<&str> {
        let identity = || self.identity.as_ref()?.id.as_ref().map(Identity::namespace);
        self.namespace.as_deref().or_else(identity)
    }

    /// Names the fields in which `new` differs and which a running workload cannot take over: a change in
    /// them needs a restart.
    #[must_use]
    pub fn restart_only_changes(&self, new: &Self) -> Vec<&'static str> {
        let (old, new_capture) = (&self.capture, &new.capture);
        [
            ("workload", self.workload != new.workload),
            ("identity", self.identity != new.identity),
            ("capture.mode", old.mode != new_capture.mode),
            ("capture.on-failure", old.on_failure != new_capture.on_failure),
            ("capture.cgroup-mount", old.cgroup_mount != new_capture.cgroup_mount),
            ("capture.cgroup", old.cgroup != new_capture.cgroup),
            ("explicit", self.edge.explicit != new.edge.explicit),
            ("serve-tls", self.edge.serve != new.edge.serve),
            ("originate-tls", self.edge.originate != new.edge.originate),
            ("node", self.node != new.node),
            ("admin.address", self.admin != new.admin),
        ]
        .into_iter()
        .filter_map(|(field, changed)| changed.then_some(field))
        .collect()
    }

    /// Whether both say the same of which connections are captured, refused and let in.
    #[must_use]
    pub fn captures_alike(&self, other: &Self) -> bool {
        self.outbound == other.outbound
            && self.capture == other.capture
            && self.inbound_ports() == other.inbound_ports()
            && self.mutual_tls == other.mutual_tls
            && self.path_form == other.path_form
            && self.authorization == other.authorization
    }

    /// This configuration with the fields of [`Self::restart_only_changes`] as they are in `running`: what can take
    /// effect now.
    #[must_use]
    pub fn keeping(self, running: &Self) -> Self {
        // What was decided for another identity waits for it.
        let for_us = self.identity == running.identity;
        let (directory, mutual_tls, authorization) = if for_us {
            (self.directory, self.mutual_tls, self.authorization)
        } else {
            let (directory, authorization) = (&running.directory, &running.authorization);
            (Arc::clone(directory), running.mutual_tls.clone(), Arc::clone(authorization))
        };
        Self {
            resources: self.resources.keeping(&running.resources),
            directory,
            mutual_tls,
            authorization,
            workload: running.workload.clone(),
            identity: running.identity.clone(),
            capture: running.capture.clone(),
            edge: running.edge.clone(),
            admin: running.admin.clone(),
            node: running.node.clone(),
            ..self
        }
    }
}

/// Reads a configuration file, and the files that it names.
///
/// # Errors
///
/// A file cannot be read, is larger than [`FILE_LIMIT`], or is not valid.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    load_from(path, &mut Sources::default())
}

/// Reads a file that is one document of whatever `T` is; nothing if it is empty.
///
/// # Errors
///
/// The file cannot be read, is larger than [`FILE_LIMIT`], or is not what `T` expects.
pub fn document<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ConfigError> {
    let text = Sources::default().read(path)?;
    Part::whole(path, &text).read()
}

/// The documents of a text, each with the number of lines in front of it.
#[must_use]
pub fn documents(text: &str) -> Vec<(u64, &str)> {
    let parts = Part::whole(Path::new(""), text).documents();
    parts.into_iter().map(|part| (part.before, part.text)).collect()
}

/// See [`load`]; `sources` then knows what was read.
fn load_from(path: &Path, sources: &mut Sources) -> Result<Config, ConfigError> {
    let text = sources.read(path)?;
    file::parse(path, &text, sources)
}

#[cfg(test)]
mod tests;
