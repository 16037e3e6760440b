//! The product's access log as an oracle: one JSON object per ended connection or answered request.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::patience::eventually;

/// One line of the access log.
#[derive(Clone, Debug, Deserialize)]
pub struct Access {
    /// When the connection or the request began, RFC 3339.
    pub time: String,
    /// Whose connection.
    pub workload: String,
    /// `outbound` or `inbound`.
    pub direction: String,
    /// Who connected.
    pub source: Option<SocketAddr>,
    /// Where it wanted to go.
    pub original_destination: Option<SocketAddr>,
    /// Where the instance dialled.
    pub upstream: Option<SocketAddr>,
    /// `direct`, `proxy` or `deny`; empty for a request, which has none of its own.
    #[serde(default)]
    pub verdict: String,
    /// Why that verdict.
    #[serde(default)]
    pub reason: String,
    /// How its bytes moved.
    pub tier: String,
    /// Who the connecting side proved to be.
    pub source_principal: Option<String>,
    /// Who the dialled side proved to be.
    pub destination_principal: Option<String>,
    /// What the other side of a tunnel calls itself.
    pub peer_workload: Option<String>,
    /// The trace that both sides of a tunnel share.
    pub trace_id: Option<String>,
    /// Bytes from the connecting side.
    pub bytes_sent: u64,
    /// Bytes back to the connecting side.
    pub bytes_received: u64,
    /// From beginning to end, in milliseconds.
    pub duration_ms: f64,
    /// What ended it, unless both sides closed.
    pub error: Option<String>,
    /// Whose fault that was: `workload`, `peer` or `agent`.
    pub error_side: Option<String>,
    /// Everything else, such as what is known of a request alone.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// A file that the product appends to.
#[derive(Clone, Debug)]
pub struct AccessLog {
    path: PathBuf,
}

impl AccessLog {
    /// The log in a file that may not exist yet.
    #[must_use]
    pub const fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every whole line so far, of connections and of requests.
    ///
    /// # Panics
    /// When a line is not what the access log promises.
    #[must_use]
    pub fn lines(&self) -> Vec<Access> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| {
                serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("not an access log line: {line}: {error}"))
            })
            .collect()
    }

    /// Waits for a line.
    ///
    /// # Panics
    /// When no such line comes within the patience.
    pub fn expect(&self, what: &str, wanted: impl Fn(&Access) -> bool) -> Access {
        eventually(&format!("an access log line of {what}"), || {
            let lines = self.lines();
            lines.iter().find(|line| wanted(line)).cloned().ok_or(lines)
        })
    }

    /// Waits for the line of a captured outbound connection to `destination`.
    ///
    /// # Panics
    /// When no such line comes within the patience.
    pub fn outbound(&self, destination: SocketAddr) -> Access {
        self.expect(&format!("an outbound connection to {destination}"), |line| {
            line.direction == "outbound" && line.original_destination == Some(destination)
        })
    }

    /// Waits for the line of a captured inbound connection to `destination`.
    ///
    /// # Panics
    /// When no such line comes within the patience.
    pub fn inbound(&self, destination: SocketAddr) -> Access {
        self.expect(&format!("an inbound connection to {destination}"), |line| {
            line.direction == "inbound" && line.original_destination == Some(destination)
        })
    }
}
