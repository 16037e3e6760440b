//! The parts of a configuration, each for the room that uses it, with their defaults.

mod edge;
mod http;
mod node;
mod tracing;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use sidestep_abi::settings::OnFailure;
use sidestep_abi::verdict::Verdict;

use crate::model::{Field, Identity, TrustDomain};
use crate::policy::{DenyWith, Rules};

pub use edge::{
    CertificateFiles, EdgeSettings, OriginateProtocol, OriginateSettings, ServeProtocol, ServeSettings,
};
pub use http::{HttpSettings, Looking};
pub use node::{CniSettings, Enrol, NodeSettings};
pub use tracing::{LogExport, TraceProtocol, TracingSettings};

/// How connections get from the workload's sockets to the instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CaptureMode {
    /// Programs on the workload's cgroup and network namespace.
    #[default]
    Ebpf,
    /// REDIRECT rules in the workload's network namespace.
    Iptables,
    /// Not at all.
    None,
}

/// `capture:`, needs a restart to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureSettings {
    /// `mode`; default `ebpf`.
    pub mode: CaptureMode,
    /// `on-failure`; default `closed`.
    pub on_failure: OnFailure,
    /// `cgroup-mount`: where the cgroup2 hierarchy of the host is mounted; by default looked for.
    pub cgroup_mount: Option<PathBuf>,
    /// `cgroup`: the directory of the workload's cgroup; by default the parent of our own.
    pub cgroup: Option<PathBuf>,
}

impl Default for CaptureSettings {
    fn default() -> Self {
        Self { mode: CaptureMode::Ebpf, on_failure: OnFailure::Closed, cgroup_mount: None, cgroup: None }
    }
}

/// `outbound:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundSettings {
    /// `default` (default `proxy`) and `rules`; known to compile.
    pub rules: Rules,
    /// `deny-with`; default `refused`.
    pub deny_with: DenyWith,
    /// `unknown`; default `relay`.
    pub unknown: Unknown,
}

/// What becomes of captured connections to destinations that neither `workloads` nor `services` name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// They are relayed as they are.
    #[default]
    Relay,
    /// They are refused.
    Refuse,
}

impl Default for OutboundSettings {
    fn default() -> Self {
        Self { rules: Rules::only(Verdict::Proxy), deny_with: DenyWith::Refused, unknown: Unknown::Relay }
    }
}

/// `relay:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelaySettings {
    /// `connect-timeout`: how long to wait for the upstream's SYN-ACK; default 10 s.
    pub connect_timeout: Duration,
    /// `idle-timeout`: how long neither side may send before the connection is closed; default 1 h.
    pub idle_timeout: Duration,
    /// `drain-timeout`: how long a stop waits for connections to end; default 10 s, may be zero.
    pub drain_timeout: Duration,
    /// `max-connections`: how many one instance carries at a time, at least 1; default 10,000.
    pub max_connections: usize,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(3_600),
            drain_timeout: Duration::from_secs(10),
            max_connections: 10_000,
        }
    }
}

/// `tunnel:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelSettings {
    /// `idle-timeout`: how long a pooled tunnel that carries nothing is kept; default 5 min.
    pub idle_timeout: Duration,
}

impl Default for TunnelSettings {
    fn default() -> Self {
        Self { idle_timeout: Duration::from_secs(300) }
    }
}

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// `files`: a directory with `tls.crt`, `tls.key` and `ca.crt`.
    Files(PathBuf),
    /// `workload-api`: the Unix socket of a SPIFFE Workload API.
    WorkloadApi(PathBuf),
    /// `signing-ca`: we issue them ourselves.
    SigningCa {
        /// `directory`: has the CA's `tls.crt` and `tls.key`.
        directory: PathBuf,
        /// `lifetime`: how long a certificate is valid, from 2 minutes to 365 days; default 24 h.
        lifetime: Duration,
    },
}

/// `identity:`, needs a restart to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentitySettings {
    /// `id`: who the workload is; always there with [`CertificateSource::SigningCa`].
    pub id: Option<Identity>,
    /// `files`, `workload-api` or `signing-ca`.
    pub source: CertificateSource,
    /// `federated`: bundles of other trust domains, each domain once.
    pub federated: Vec<(TrustDomain, PathBuf)>,
    /// `revocation-lists`.
    pub revocation_lists: Vec<PathBuf>,
}

/// `admin:`, needs a restart to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// `address`: where to listen; the port is not zero.
    pub address: SocketAddr,
}

/// Where a log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogDestination {
    /// `-`.
    #[default]
    Stdout,
    /// A file that is appended to.
    File(PathBuf),
}

impl From<PathBuf> for LogDestination {
    fn from(path: PathBuf) -> Self {
        if path.as_os_str() == "-" { Self::Stdout } else { Self::File(path) }
    }
}

/// The shape of an access log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object.
    Json,
    /// Words for people.
    Text,
    /// Text where the log goes to a terminal, otherwise JSON.
    #[default]
    Auto,
}

/// `access-log:`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// `path`; default `-`, standard output.
    pub destination: LogDestination,
    /// `format`; default `auto`.
    pub format: LogFormat,
    /// `fields` of every line; by default all that belong to it.
    pub fields: Option<Vec<Field>>,
    /// `otlp`; default `false`.
    pub export: LogExport,
}

impl AccessLogSettings {
    /// The format to write: never [`LogFormat::Auto`]. Looks whether standard output is a terminal.
    #[must_use]
    pub fn effective_format(&self) -> LogFormat {
        match (self.format, &self.destination) {
            (LogFormat::Auto, LogDestination::Stdout) if std::io::stdout().is_terminal() => LogFormat::Text,
            (LogFormat::Auto, _) => LogFormat::Json,
            (format, _) => format,
        }
    }
}
