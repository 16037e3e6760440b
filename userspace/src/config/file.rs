//! The file as it is written, and how it becomes a [`Config`].
//!
//! The structures here know the names of fields and nothing else; what a value means is known by its type, and what
//! holds between rules by [`crate::policy`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_saphyr::Spanned;
use sidestep_abi::settings::OnFailure;

use super::istio;
use super::sources::Sources;
use super::value::{Count, Hostname, OneOrMany, Patience, Timeout, Value};
use super::yaml::{Part, section};
use super::{
    AdminSettings, CaptureMode, CaptureSettings, Config, ConfigError, IdentitySettings, ROOT_NAMESPACE,
    RelaySettings, Resources, TunnelSettings, WorkloadName,
};
use crate::policy::{Authorization, MutualTls, Subject};

mod edge;
mod entry;
mod http;
mod identity;
mod inbound;
mod mesh;
mod node;
mod outbound;
mod rate_limits;
mod tracing;

use edge::{WrittenEdge, WrittenExplicit, WrittenOrigination, WrittenTermination};
use http::Http;
use identity::{Whose, WrittenIdentity};
use inbound::Inbound;
use mesh::{Own, WrittenService, WrittenWorkload};
use node::WrittenNode;
use outbound::Outbound;
use rate_limits::WrittenRateLimit;
use tracing::{AccessLog, Tracing};

section!(Document {
    workload: Value<WorkloadName>,
    labels: BTreeMap<String, Value<String>>,
    identity: Spanned<WrittenIdentity>,
    capture: Capture,
    outbound: Outbound,
    inbound: Inbound,
    relay: Relay,
    tunnel: Tunnel,
    http: Http,
    workloads: Vec<Spanned<WrittenWorkload>>,
    services: Vec<Spanned<WrittenService>>,
    policies: Spanned<OneOrMany<PathBuf>>,
    root_namespace: Value<Hostname>,
    originate_tls: Vec<Spanned<WrittenOrigination>>,
    serve_tls: Vec<Spanned<WrittenTermination>>,
    explicit: Spanned<WrittenExplicit>,
    routes: OneOrMany<PathBuf>,
    rate_limits: Vec<Spanned<WrittenRateLimit>>,
    node: Spanned<WrittenNode>,
    admin: Admin,
    access_log: Spanned<AccessLog>,
    tracing: Spanned<Tracing>,
});
section!(Capture {
    mode: Value<CaptureMode>,
    on_failure: Value<OnFailure>,
    cgroup_mount: Value<PathBuf>,
    cgroup: Value<PathBuf>,
});
section!(Relay {
    connect_timeout: Value<Timeout>,
    idle_timeout: Value<Timeout>,
    drain_timeout: Value<Patience>,
    max_connections: Value<Count>,
});
section!(Tunnel { idle_timeout: Value<Timeout> });

/// `admin:` is the one section that means nothing without its field.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping of settings")]
struct Admin {
    address: Value<SocketAddr>,
}

/// Reads a configuration from text; the files that it names are read from `sources`.
pub(super) fn parse(file: &Path, text: &str, sources: &mut Sources) -> Result<Config, ConfigError> {
    let part = Part::whole(file, text);
    match part.read::<Document>()? {
        Some(document) => document.config(part, sources),
        // An empty file is a file that somebody is about to write more often than the wish for all defaults.
        None => Err(ConfigError::Invalid {
            file: file.to_owned(),
            place: None,
            field: String::new(),
            message: "expected settings, found an empty file; write {} to have all defaults".to_owned(),
        }),
    }
}

impl Document {
    /// What the pieces, each of them good, mean together.
    fn config(self, part: Part<'_>, sources: &mut Sources) -> Result<Config, ConfigError> {
        if let Some(node) = &self.node {
            self.expect_for_node(node, part)?;
        }
        let of = if self.node.is_some() { Whose::EveryPods } else { Whose::Own };
        let identity =
            self.identity.map(|section| WrittenIdentity::settings(section, of, part)).transpose()?;
        let own = match &identity {
            None => Own::None,
            Some(IdentitySettings { id: None, .. }) => Own::Certified,
            Some(IdentitySettings { id: Some(id), .. }) => Own::Identity(id),
        };
        let (workloads, services) = (self.workloads.unwrap_or_default(), self.services.unwrap_or_default());
        let directory = mesh::directory(workloads, services, own, part)?;
        let root_namespace = self.root_namespace.map(|Value(Hostname(name))| name);
        let (inbound, probes) = self.inbound.unwrap_or_default().settings(part)?;
        let (mutual_tls, authorization) = match self.policies {
            None => (MutualTls::default(), Authorization::default()),
            Some(files) => {
                let labels =
                    self.labels.unwrap_or_default().into_iter().map(|(key, Value(value))| (key, value));
                let root = root_namespace.as_deref().unwrap_or(ROOT_NAMESPACE);
                policies(files, own, &labels.collect(), root, part, sources)?
            }
        };
        let path_form = self.http.as_ref().map(Http::path_form).unwrap_or_default();
        let tracing = self.tracing.map(|section| Tracing::settings(section, part)).transpose()?;
        let access_log = self.access_log.map(|section| AccessLog::settings(section, tracing.as_ref(), part));
        let admin = self.admin.map(|admin| AdminSettings { address: admin.address.0 });
        let edge =
            WrittenEdge { originate: self.originate_tls, serve: self.serve_tls, explicit: self.explicit };
        let mut resources = Resources::default();
        for path in self.routes.into_iter().flat_map(OneOrMany::into_values) {
            let text = sources.read(&path)?;
            resources.read(&path, &text);
        }
        let rate_limits = rate_limits::settings(self.rate_limits.unwrap_or_default(), part)?;
        Ok(Config {
            edge: edge.settings(admin.as_ref(), part)?,
            workload: self.workload.map(|Value(name)| name),
            capture: self.capture.unwrap_or_default().settings(),
            outbound: self.outbound.unwrap_or_default().settings(&directory, part)?,
            inbound,
            relay: self.relay.unwrap_or_default().settings(),
            tunnel: self.tunnel.unwrap_or_default().settings(),
            http: self.http.map(Http::settings),
            directory: Arc::new(directory),
            mutual_tls: mutual_tls.with_probes(probes),
            authorization: Arc::new(authorization),
            path_form,
            resources,
            rate_limits,
            root_namespace,
            namespace: None,
            node: self.node.map(|node| node.value.settings()),
            admin,
            access_log: access_log.transpose()?,
            tracing,
            identity,
        })
    }
}

/// `policies:`: what the resources in these files and directories say for our own workload.
fn policies(
    files: Spanned<OneOrMany<PathBuf>>,
    own: Own<'_>,
    labels: &BTreeMap<String, String>,
    root_namespace: &str,
    part: Part<'_>,
    sources: &mut Sources,
) -> Result<(MutualTls, Authorization), ConfigError> {
    let invalid = |message| part.invalid(files.referenced, "policies", message);
    let identity = match own {
        Own::Identity(identity) => identity,
        Own::None => {
            return Err(invalid(
                "expected the section identity, whose namespace these policies are for, found none",
            ));
        }
        Own::Certified => {
            return Err(invalid("expected identity.id, whose namespace these policies are for, found none"));
        }
    };
    let mut policies = istio::Policies::default();
    for path in files.value.into_values() {
        for file in sources.files(path)? {
            let text = sources.read(&file)?;
            policies.read(&file, &text, &mut sources.memory)?;
        }
    }
    policies.decide(Subject {
        trust_domain: identity.trust_domain(),
        namespace: identity.namespace(),
        labels,
        root_namespace,
    })
}

impl Capture {
    fn settings(self) -> CaptureSettings {
        let defaults = CaptureSettings::default();
        CaptureSettings {
            mode: or(self.mode, defaults.mode),
            on_failure: or(self.on_failure, defaults.on_failure),
            cgroup_mount: self.cgroup_mount.map(|Value(path)| path),
            cgroup: self.cgroup.map(|Value(path)| path),
        }
    }
}

impl Relay {
    fn settings(self) -> RelaySettings {
        let defaults = RelaySettings::default();
        let timeout =
            |written: Option<Value<Timeout>>, default| written.map_or(default, |Value(Timeout(it))| it);
        RelaySettings {
            connect_timeout: timeout(self.connect_timeout, defaults.connect_timeout),
            idle_timeout: timeout(self.idle_timeout, defaults.idle_timeout),
            drain_timeout: self.drain_timeout.map_or(defaults.drain_timeout, |Value(Patience(it))| it),
            max_connections: self.max_connections.map_or(defaults.max_connections, |Value(Count(it))| it),
        }
    }
}

impl Tunnel {
    fn settings(self) -> TunnelSettings {
        let defaults = TunnelSettings::default();
        TunnelSettings {
            idle_timeout: self.idle_timeout.map_or(defaults.idle_timeout, |Value(Timeout(it))| it),
        }
    }
}

/// What was written, or else the default.
fn or<T>(written: Option<Value<T>>, default: T) -> T {
    written.map_or(default, |Value(value)| value)
}
