//! What is known of a connection that is open now.

use std::sync::Arc;
use std::time::SystemTime;

use sidestep_abi::verdict::{Direction, Reason};

use super::{
    ClientAddr, Decided, Identity, OriginalDst, Protocol, Service, Tier, TraceId, UpstreamAddr, Workload,
};

/// An open connection, with what its line in the access log would say if it ended now.
#[derive(Clone, Debug)]
pub struct Live {
    /// Its number among those of its instance.
    pub connection: u64,
    /// When it was accepted.
    pub began: SystemTime,
    /// Which way it goes.
    pub direction: Direction,
    /// Who connected.
    pub client: ClientAddr,
    /// Where that wanted to go; absent until it is known.
    pub original: Option<OriginalDst>,
    /// Where the instance dialled; absent until it does.
    pub upstream: Option<UpstreamAddr>,
    /// Why it was captured.
    pub reason: Reason,
    /// How its bytes move.
    pub tier: Tier,
    /// What is spoken, where somebody looked or it was declared.
    pub protocol: Option<Protocol>,
    /// The server name that a TLS client asked for.
    pub sni: Option<Box<str>>,
    /// Who the connecting side proved to be (outbound: who we are).
    pub source_identity: Option<Identity>,
    /// Who the dialled side proved to be (inbound: who we are).
    pub destination_identity: Option<Identity>,
    /// The other side, if the directory knows it.
    pub peer: Option<Arc<Workload>>,
    /// The service that was dialled, if the destination was one.
    pub service: Option<Arc<Service>>,
    /// What the other side of a tunnel calls itself.
    pub peer_workload: Option<String>,
    /// The trace that it belongs to.
    pub trace_id: Option<TraceId>,
    /// What policy said of it, where that was anything; of one of HTTP it is said of each request.
    pub decided: Option<Box<Decided>>,
    /// Requests that are under way on it.
    pub requests: usize,
}
