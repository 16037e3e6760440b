//! The instance: listeners that captured connections are steered to, and the relay behind them.
//!
//! It moves bytes and looks at none of them unless HTTP is asked for. It deliberately knows neither eBPF nor netfilter (the original
//! destination comes through [`Handoffs`]), nor logs nor metrics (connections are told to a
//! [`crate::model::Observer`]), nor policy (it asks [`Admission`]), nor where certificates come from ([`Credentials`]).
//!
//! # Layout
//! - `admission`: who may come in and go out, asked of the policy
//! - `reconsider`: the same asked again while connections are open
//! - `edge`: TLS towards others and from them, outside of the mesh
//! - `instance`: what outlives a connection: limits, the set of live connections, our own listeners
//! - `listening`: the accept loop and what it does when descriptors run out
//! - `connection`: one connection from acceptance to its end
//! - `finding`: who is at an address that is not known yet
//! - `facts`, `record`: what is known of it, and what is told in the end
//! - `probing`: plain text that is let in for probes alone
//! - `room`: what the instances of one process share
//! - `route`, `balance`: where an outbound connection goes
//! - `dial`: the second leg
//! - `http`: connections whose requests are forwarded one by one
//! - `leg`: a stream that is reset unless it ended well
//! - `relay`: bytes, half-close and reset, both ways
//! - `tunnel`: connections as streams within mutual TLS, dialled and accepted
//! - `throttle`: how often a pod can make us write a log line
//! - `workers`: the threads that connections live on

mod admission;
mod balance;
mod connection;
mod dial;
mod edge;
mod facts;
mod finding;
pub mod http;
mod instance;
mod leg;
mod listening;
mod probing;
mod reconsider;
mod record;
mod relay;
mod room;
mod route;
#[cfg(test)]
mod tests;
mod throttle;
mod tunnel;
mod workers;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::model::{ClientAddr, Direction, OriginalDst, Reason};

pub use admission::{Admission, Admitted, Asked, Caller, Refused};
pub use edge::{Edge, Negotiation, Origination, Termination};
pub use finding::Finder;
pub use http::{HttpTerms, Looking, Routing};
pub use instance::{Instance, Surroundings};
pub use listening::Listening;
pub use probing::{Permit, Probing};
pub use room::Room;
pub use route::{Neighbours, Unknown};
pub use tunnel::tally::TunnelCounts;
pub use tunnel::{Credentials, Tunnelling};
pub use workers::{Threads, Workers};

/// What one instance lets its connections take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a dial may take before the client is reset.
    pub connect_timeout: Duration,
    /// How long a connection may stand without one byte either way. It is ended between one time and one and a
    /// quarter times this long after the last byte: activity is looked for four times per timeout instead of
    /// being noted at every byte.
    pub idle_timeout: Duration,
    /// How many connections may be open at once, both directions together, and how many tunnels. One more is reset.
    pub max_connections: usize,
    /// How long a tunnel that we dialled may carry nothing before it is closed.
    pub tunnel_idle_timeout: Duration,
}

/// What a listener of the instance is for.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Captured connections that the workload makes.
    Outbound,
    /// Captured connections to the workload, in plain text.
    Inbound,
    /// Tunnels to the workload.
    Tunnel,
    /// What is dialled at the instance itself.
    Edge(Edge),
}

impl Entry {
    /// Which way its connections go.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        match self {
            Self::Outbound => Direction::Outbound,
            Self::Inbound | Self::Tunnel => Direction::Inbound,
            Self::Edge(edge) => edge.direction(),
        }
    }
}

/// Where captured sockets tell what they were captured from.
///
/// Implemented by whatever captures: eBPF maps, netfilter's conntrack, or a test. Every call is made on a thread
/// of the runtime: a system call or two, never waiting.
pub trait Handoffs: Send + Sync + 'static {
    /// Original destination of an accepted outbound socket and why it was captured.
    ///
    /// `None` means that the socket carries no handoff: the connection is refused, nothing is guessed.
    ///
    /// # Errors
    /// The handoff could not be read; the connection is refused as well.
    fn original_destination(&self, accepted: BorrowedFd<'_>) -> io::Result<Option<(OriginalDst, Reason)>>;

    /// Original destination of an accepted inbound socket whose local address is `local`, and why it was captured.
    ///
    /// Sockets steered by `sk_lookup` keep the address that was dialled as their own, which is what this answers
    /// unless told otherwise; netfilter's REDIRECT changes it and needs to ask conntrack.
    ///
    /// # Errors
    /// The handoff could not be read; the connection is refused.
    fn inbound_destination(
        &self,
        accepted: BorrowedFd<'_>,
        local: SocketAddr,
    ) -> io::Result<Option<(OriginalDst, Reason)>> {
        let _ = accepted;
        Ok(Some((OriginalDst(local), Reason::Default)))
    }

    /// Leaves the real client on a socket that is about to dial the app, so that the app sees it as its peer.
    ///
    /// # Errors
    /// The note could not be left; the connection is refused, because the app would see a false peer.
    fn leave_client(&self, dialling: BorrowedFd<'_>, client: ClientAddr) -> io::Result<()>;
}

/// `address` with an IPv4-mapped IPv6 address (`::ffff:a.b.c.d`) turned into the IPv4 address that it means.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) if address.is_ipv6() => SocketAddr::new(IpAddr::V4(v4), address.port()),
        // An IPv6 address keeps its zone: a link-local destination cannot be dialled without it.
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}
