//! The tunnel: a connection as one stream of HTTP/2 CONNECT within mutual TLS, as Istio ambient speaks it (HBONE).
//!
//! Many connections between the same two workloads share one TLS connection. It is built on the `h2` crate and not on
//! hyper's upgrades, which read ahead of a slow reader without bound. It deliberately knows no certificate and no policy:
//! both come through [`super::Credentials`] and [`super::Admission`].
//!
//! # Layout
//! - `wire`: the TCP connection below TLS, with few system calls
//! - `message`: the CONNECT request and its answers
//! - `baggage`: what a workload says of itself
//! - `terms`: settings, windows and times of both ends
//! - `keepalive`: pings, and when a connection has been idle too long
//! - `client`, `pool`: tunnels that we dial, shared by destination
//! - `outbound`: a captured connection that goes through one
//! - `server`, `stream`: tunnels that others dial, and each connection within
//! - `tally`: how many tunnels there were
//! - `channel`: both directions of a stream
//! - `relay`: bytes between a socket and a stream

pub(super) mod baggage;
pub(super) mod channel;
pub(super) mod client;
mod keepalive;
mod message;
pub(super) mod outbound;
pub(super) mod pool;
pub(super) mod relay;
pub(super) mod server;
mod stream;
pub(super) mod tally;
mod terms;
pub(super) mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::watch;

use super::instance::Instance;
use crate::model::Identity;

/// What proves who we are, and who others are.
///
/// Implemented by the certificates of the workload, or by a test. Errors are complete sentences: they are logged as they are.
pub trait Credentials: Send + Sync + 'static {
    /// Who we are.
    fn identity(&self) -> Identity;

    /// TLS for dialling a workload that has to prove to be `expected`: TLS 1.3, our certificate, ALPN `h2`, no SNI.
    ///
    /// # Errors
    /// There is no certificate to present, or no trust to verify with.
    fn client(&self, expected: &Identity) -> io::Result<Arc<ClientConfig>>;

    /// TLS for being dialled: TLS 1.3, our certificate, a verified one demanded, ALPN `h2`.
    ///
    /// # Errors
    /// There is no certificate to present, or no trust to verify with.
    fn server(&self) -> io::Result<Arc<ServerConfig>>;

    /// The identity in a chain that was verified in a handshake.
    ///
    /// # Errors
    /// There is none in it.
    fn peer(&self, chain: &[CertificateDer<'_>]) -> io::Result<Identity>;

    /// Verifies a chain again, with what is trusted and revoked by now.
    ///
    /// # Errors
    /// It is no longer good.
    fn verify_again(&self, chain: &[CertificateDer<'_>]) -> io::Result<()>;

    /// Changes whenever chains are worth verifying again.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// What a workload needs to speak through tunnels.
#[derive(Clone)]
pub struct Tunnelling {
    /// Who it is and whom it trusts.
    pub credentials: Arc<dyn Credentials>,
    /// Its name, for those at the other end.
    pub workload: String,
}

/// Handshakes with whoever dials that are under way at once; more of them wait for a place. Whoever has not proved who it is
/// cannot make us hold more than this.
pub(super) const HANDSHAKES: usize = 256;

/// The certificates that the other end of a tunnel proved itself with, its own first.
type Chain = Vec<CertificateDer<'static>>;

/// Whether a tunnel may stay, now that something else is trusted or revoked.
fn verify_again(
    instance: &Instance,
    chain: &[CertificateDer<'_>],
    peer: &Identity,
    address: SocketAddr,
) -> io::Result<()> {
    let Some(tunnelling) = &instance.tunnelling else { return Ok(()) };
    tunnelling.credentials.verify_again(chain).inspect_err(|error| {
        tracing::warn!(%error, %address, %peer, "tunnel cut: the other end's certificate is no longer good");
    })
}

/// An error with a sentence of its own.
fn fault(kind: io::ErrorKind, message: impl Into<String>) -> io::Error {
    io::Error::new(kind, message.into())
}

/// What HTTP/2 reports, as an error of a socket: a stream that was reset is a connection that was reset.
fn of_h2(error: h2::Error) -> io::Error {
    let kind = match error.reason() {
        _ if error.is_io() => {
            return error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
        }
        Some(h2::Reason::CANCEL | h2::Reason::NO_ERROR | h2::Reason::INTERNAL_ERROR) => {
            io::ErrorKind::ConnectionReset
        }
        Some(h2::Reason::REFUSED_STREAM) => io::ErrorKind::ConnectionRefused,
        _ => io::ErrorKind::ConnectionAborted,
    };
    io::Error::new(kind, error)
}
