//! What is known of a connection while it lives and when it ends.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sidestep_abi::verdict::{Direction, Reason, Verdict};

use crate::model::{
    ClientAddr, Decided, Exchange, Identity, OriginalDst, Protocol, Service, TraceId, UpstreamAddr, Workload,
};

/// How bytes move once allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// The kernel alone.
    Direct,
    /// Copied or spliced by the instance, not looked at.
    Relay,
    /// Carried as a stream of HTTP/2 within mutual TLS, not looked at either.
    Tunnel,
    /// Parsed as HTTP, request by request, in plain text or through a tunnel.
    Http,
}

impl Tier {
    /// The word used in logs and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relay => "relay",
            Self::Tunnel => "tunnel",
            Self::Http => "http",
        }
    }
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The workload that Sidestep serves.
    Workload,
    /// Whoever is at the other end.
    Peer,
    /// Sidestep itself, or the machine it runs on.
    Agent,
}

impl Side {
    /// Every side.
    pub const ALL: [Self; 3] = [Self::Workload, Self::Peer, Self::Agent];

    /// The word used in logs and as a metric label.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Workload => "workload",
            Self::Peer => "peer",
            Self::Agent => "agent",
        }
    }
}

/// Why a connection ended other than by both sides closing.
#[derive(Debug)]
pub struct Fault {
    /// Whose fault it is.
    pub side: Side,
    /// What was being done: "dial upstream", "read from client".
    pub doing: &'static str,
    /// What went wrong.
    pub source: io::Error,
}

impl Fault {
    /// A fault of `side` while `doing` something.
    #[must_use]
    pub const fn new(side: Side, doing: &'static str, source: io::Error) -> Self {
        Self { side, doing, source }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.doing, self.source)
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Bytes that were handed on, per direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From the side that connected to the side that was dialled.
    pub sent: u64,
    /// Back to the side that connected.
    pub received: u64,
}

/// A connection that has ended, or was never let in: what the access log and the metrics are made of.
#[derive(Debug)]
pub struct Ended {
    /// Its number among those of its instance; absent where the instance never served it.
    pub connection: Option<u64>,
    /// When it was accepted or refused.
    pub began: SystemTime,
    /// Which way it went.
    pub direction: Direction,
    /// Who connected; not known of a `connect()` that the kernel refused.
    pub client: Option<ClientAddr>,
    /// Where it wanted to go; absent when no handoff told.
    pub original: Option<OriginalDst>,
    /// Where the instance dialled; absent when it never did.
    pub upstream: Option<UpstreamAddr>,
    /// What was to happen to it.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// How its bytes moved.
    pub tier: Tier,
    /// What was spoken, where somebody looked or it was declared.
    pub protocol: Option<Protocol>,
    /// The server name that a TLS client asked for (RFC 6066, section 3): what the client says, proved by nothing.
    pub sni: Option<Box<str>>,
    /// Requests that it carried; each was told by [`Observer::exchanged`].
    pub requests: u64,
    /// Who the connecting side proved to be by its certificate (outbound: who we are); absent in plain text.
    pub source_identity: Option<Identity>,
    /// Who the dialled side proved to be by its certificate (inbound: who we are); absent in plain text.
    pub destination_identity: Option<Identity>,
    /// The other side (outbound: who was dialled; inbound: who connected), if the directory knows it. Inbound it is known by
    /// its certificate and its address together, never by its address alone.
    pub peer: Option<Arc<Workload>>,
    /// The service that was dialled, if the destination was one.
    pub service: Option<Arc<Service>>,
    /// What the other side of a tunnel calls itself, `namespace/name`: for logs, not for decisions.
    pub peer_workload: Option<String>,
    /// The W3C trace that the connection belongs to on both sides of a tunnel: 32 hexadecimal digits.
    pub trace_id: Option<TraceId>,
    /// What policy says of it, where that is anything. Of one that carried requests it is said of each.
    pub decided: Option<Box<Decided>>,
    /// How many bytes moved.
    pub traffic: Traffic,
    /// From acceptance to the end.
    pub duration: Duration,
    /// What ended it, unless both sides closed.
    pub fault: Option<Fault>,
}

/// Whoever wants to know of connections: telemetry in the product, a list in a test.
///
/// Called on the relay's own threads: implementations neither block nor wait.
pub trait Observer: Send + Sync + 'static {
    /// A connection was accepted from capture.
    fn opened(&self, direction: Direction);
    /// A connection ended. Called once for every `opened`, and alone for a `connect()` that the kernel refused.
    fn ended(&self, ended: Ended);
    /// A request was answered, or will not be.
    fn exchanged(&self, exchange: Exchange);
    /// Policy was asked about a connection or a request, and this holds of it from now on.
    fn ruled(&self, decided: &Decided) {
        let _ = decided;
    }
}
