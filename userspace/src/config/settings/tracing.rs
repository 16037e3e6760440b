//! Where spans go, and which there are.

use std::path::PathBuf;

use http::{HeaderMap, Uri};

use crate::model::Sampling;

/// `tracing:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracingSettings {
    /// `endpoint`: the collector, `http` or `https` with a host.
    pub endpoint: Uri,
    /// `protocol`; default `grpc`.
    pub protocol: TraceProtocol,
    /// `sampling` (default 0.01) and `parents` (default `followed`).
    pub sampling: Sampling,
    /// `headers`: sent along with each message.
    pub headers: HeaderMap,
    /// `resource`: attributes besides those that are known of the workload.
    pub resource: Vec<(String, String)>,
    /// `authorities`: whose signature on the collector's certificate counts; by default those that the system trusts.
    pub authorities: Option<PathBuf>,
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceProtocol {
    /// OTLP/gRPC.
    #[default]
    Grpc,
    /// OTLP/HTTP with binary protobuf.
    Http,
}

/// Whether lines of the access log go to the collector too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogExport {
    /// They do not.
    #[default]
    Never,
    /// As log records of OTLP.
    Otlp,
}
