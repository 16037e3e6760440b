//! The edge of a workload: where it speaks with others that are not of the mesh, and with an app that speaks only half of it.
//!
//! The listeners here are the instance's own and are dialled as they are; nothing is captured. It deliberately knows no
//! certificate: TLS comes made up ([`Origination::tls`]).
//!
//! # Layout
//! - `originate`: adds TLS towards a service elsewhere
//! - `terminate`: takes TLS off for an app that speaks none
//! - `explicit`: a proxy for programs that address it themselves
//! - `mysql`, `postgres`: how these two begin to speak TLS
//! - `reach`: a host by name or address becomes a connection, if policy lets it
//! - `pump`: bytes between a socket and a TLS connection
//! - `exact`: pieces of known length

pub(super) mod exact;
pub(super) mod explicit;
mod mysql;
mod originate;
mod postgres;
mod pump;
mod reach;
mod terminate;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use socket2::Socket;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::client::TlsStream;

pub(super) use reach::LOOKUPS;

use super::instance::{Alive, Full, Instance};
use super::leg::Leg;
use super::record::Record;
use super::tunnel::HANDSHAKES;
use super::tunnel::wire::Wire;
use super::workers::Seat;
use crate::model::{ClientAddr, Direction, Fault, OriginalDst, Protocol, Reason, Remote, Side, UpstreamAddr};

/// What a listener at the edge is for.
#[derive(Clone, Debug)]
pub enum Edge {
    /// Adds TLS towards a service elsewhere.
    Originate(Arc<Origination>),
    /// Takes TLS off connections from others.
    Terminate(Arc<Termination>),
    /// Is a proxy for programs that address it themselves.
    Explicit,
}

impl Edge {
    /// Which way its connections go.
    pub(super) const fn direction(&self) -> Direction {
        match self {
            Self::Originate(_) | Self::Explicit => Direction::Outbound,
            Self::Terminate(_) => Direction::Inbound,
        }
    }
}

/// How a protocol begins to speak TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negotiation {
    /// With the first byte, and the other end says when it has ended: a connection that is cut short is reset.
    AtOnce,
    /// As PostgreSQL does, by an `SSLRequest`.
    Postgres,
    /// As MySQL and MariaDB do, in the middle of the handshake.
    Mysql,
}

/// TLS towards a service elsewhere, for an app that speaks none.
pub struct Origination {
    /// Where the service is.
    pub remote: Remote,
    /// Who it has to prove to be.
    pub server_name: ServerName<'static>,
    /// How its protocol begins to speak TLS.
    pub negotiation: Negotiation,
    /// TLS as it is to be spoken now.
    pub tls: Box<dyn Fn() -> Arc<ClientConfig> + Send + Sync>,
}

impl fmt::Debug for Origination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Origination").field("remote", &self.remote).finish_non_exhaustive()
    }
}

/// TLS for an app that speaks none and listens on loopback only.
pub struct Termination {
    to: UpstreamAddr,
    /// Which HTTP the app speaks, if any.
    app: Option<Protocol>,
    tls: Box<dyn Fn() -> Arc<ServerConfig> + Send + Sync>,
    /// Places for handshakes: whoever has not finished one cannot make us hold more than this.
    handshakes: Semaphore,
}

impl Termination {
    /// In front of an app at `to` that speaks `app`, if that is HTTP; `tls` says how it is to be spoken now.
    #[must_use]
    pub fn new(
        to: UpstreamAddr,
        app: Option<Protocol>,
        tls: Box<dyn Fn() -> Arc<ServerConfig> + Send + Sync>,
    ) -> Self {
        Self { to, app, tls, handshakes: Semaphore::new(HANDSHAKES) }
    }
}

impl fmt::Debug for Termination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Termination").field("to", &self.to).finish_non_exhaustive()
    }
}

/// A connection to a listener at the edge that has just been accepted.
pub(super) struct Arrived {
    pub(super) seat: Seat,
    pub(super) stream: TcpStream,
    /// A socket for the other leg, of the listener's family.
    pub(super) second: Socket,
    pub(super) client: ClientAddr,
    /// The address that was dialled.
    pub(super) local: SocketAddr,
}

/// Serves a connection to its end.
pub(super) async fn serve(alive: Alive, edge: Edge, arrived: Arrived) {
    match edge {
        Edge::Originate(origination) => originate::serve(&alive, &origination, arrived).await,
        Edge::Terminate(termination) => terminate::serve(alive, &termination, arrived).await,
        Edge::Explicit => explicit::serve(alive, arrived).await,
    }
}

/// Resets a connection that is one too many.
pub(super) fn turn_away(instance: &Instance, edge: &Edge, arrived: Arrived, full: Full) {
    let mut record = Record::unserved(instance, edge.direction(), arrived.client);
    record.captured(OriginalDst(arrived.local), Reason::Rule);
    let client = arrived.client;
    drop(Leg::new(arrived.stream));
    fail(instance, record, client, Fault::new(Side::Agent, "admit connection", full.error()).into());
}

/// What is to be told of a connection.
fn open(alive: &Alive, direction: Direction, arrived: &Arrived) -> Record {
    let mut record = Record::open(alive, direction, arrived.client);
    record.captured(OriginalDst(arrived.local), Reason::Rule);
    record
}

/// TLS towards somebody else.
type Secured = TlsStream<Wire>;

/// Why a connection goes no further.
#[derive(Debug)]
struct Refusal {
    /// Why it may not, where that is the reason.
    reason: Option<Reason>,
    fault: Fault,
    /// What its client understands, in its own protocol.
    answer: Option<Vec<u8>>,
}

impl Refusal {
    const fn fault(fault: Fault) -> Self {
        Self { reason: None, fault, answer: None }
    }

    fn new(side: Side, doing: &'static str, message: impl Into<String>) -> Self {
        Self::fault(Fault::new(side, doing, io::Error::new(io::ErrorKind::InvalidData, message.into())))
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::fault(fault)
    }
}

/// Tells of a connection that went no further. Its sockets are closed by then.
fn fail(instance: &Instance, record: Record, client: ClientAddr, refusal: Refusal) {
    let Refusal { reason, fault, .. } = refusal;
    if let Some(held_back) = instance.refusals.admit(Instant::now()) {
        let reason = reason.map(Reason::word);
        tracing::warn!(%client, %fault, reason, held_back, "connection at the edge was not made");
    }
    match reason {
        Some(reason) => record.refuse(reason, fault),
        None => record.fail(fault),
    }
}
