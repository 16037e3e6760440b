//! Tunnels that others dial: the handshake, and the connection that its streams come from.
//!
//! Whoever dials is nobody until its certificate was verified: until then it has a place among few, and a few seconds.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use h2::server::Connection;
use hyper::body::Bytes;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::keepalive::Keepalive;
use super::stream;
use super::wire::Wire;
use super::{Chain, fault, of_h2, terms, verify_again};
use crate::model::{ClientAddr, Direction, Fault, Identity, OriginalDst, Reason, Side, Tier};
use crate::proxy::dial::late;
use crate::proxy::instance::{Alive, Full, Instance};
use crate::proxy::leg::Leg;
use crate::proxy::record::Record;
use crate::proxy::workers::Seat;

/// A tunnel connection that has just been accepted.
pub(in crate::proxy) struct Dialled {
    pub(in crate::proxy) seat: Seat,
    pub(in crate::proxy) stream: TcpStream,
    pub(in crate::proxy) client: ClientAddr,
    /// The address that was dialled, the workload's own.
    pub(in crate::proxy) local: SocketAddr,
}

/// Who is at the other end of a tunnel, for each of its streams.
pub(super) struct Peer {
    pub(super) identity: Identity,
    pub(super) client: ClientAddr,
    /// The workload's address that the tunnel was dialled at.
    pub(super) local: SocketAddr,
    pub(super) ourselves: Identity,
}

/// Serves a tunnel to its end. Its streams are tasks of their own on the same worker.
pub(in crate::proxy) async fn serve(alive: Alive, dialled: Dialled) {
    let instance = Arc::clone(&alive.instance);
    let Dialled { seat, stream, client, local } = dialled;
    let patience = instance.limits().connect_timeout;
    let shaken = timeout(patience, async {
        // The semaphore is never closed.
        let _place = instance.handshakes.acquire().await;
        shake_hands(&instance, stream).await
    });
    let shaken = shaken.await;
    let shaken = shaken
        .unwrap_or_else(|_elapsed| Err(Fault::new(Side::Peer, "shake hands with tunnel", late(patience))));
    let Shaken { connection, identity, chain, ourselves, trust } = match shaken {
        Ok(shaken) => shaken,
        Err(fault) => return refuse(&instance, client, local, fault),
    };
    instance.tunnels.count_accepted();
    let peer = Arc::new(Peer { identity, client, local, ourselves });
    let ended = Serving { instance: &instance, peer: &peer, chain, seat, connection }.run(trust).await;
    match ended {
        Ok(()) => tracing::debug!(%client, peer = %peer.identity, "tunnel ended"),
        Err(error) => tracing::debug!(%error, %client, peer = %peer.identity, "tunnel broke"),
    }
    drop(alive);
}

/// Resets a tunnel that is one too many.
pub(in crate::proxy) fn turn_away(instance: &Instance, dialled: Dialled, full: Full) {
    let Dialled { stream, client, local, .. } = dialled;
    drop(Leg::new(stream));
    refuse(instance, client, local, Fault::new(Side::Agent, "admit tunnel", full.error()));
}

/// Tells of a handshake that failed: whoever dialled proved nothing.
fn refuse(instance: &Instance, client: ClientAddr, local: SocketAddr, fault: Fault) {
    instance.tunnels.count_refused();
    if let Some(held_back) = instance.refusals.admit(Instant::now()) {
        tracing::warn!(%client, %fault, held_back, "tunnel refused");
    }
    let mut record = Record::unserved(instance, Direction::Inbound, client);
    record.captured(OriginalDst(local), Reason::Tunnel);
    record.carried(Tier::Tunnel);
    record.refuse(Reason::Tunnel, fault);
}

/// A handshake that succeeded.
struct Shaken {
    connection: Connection<TlsStream<Wire>, Bytes>,
    identity: Identity,
    /// What proved it.
    chain: Chain,
    ourselves: Identity,
    /// Changes when the peer's chain is worth verifying again.
    trust: watch::Receiver<u64>,
}

async fn shake_hands(instance: &Instance, stream: TcpStream) -> Result<Shaken, Fault> {
    let Some(tunnelling) = &instance.tunnelling else {
        let none = fault(io::ErrorKind::Unsupported, "the workload has no identity to prove (identity)");
        return Err(Fault::new(Side::Agent, "accept tunnel", none));
    };
    let credentials = &tunnelling.credentials;
    let trust = credentials.changes();
    let tls =
        credentials.server().map_err(|source| Fault::new(Side::Agent, "present certificate", source))?;
    let ourselves = credentials.identity();
    let secured = TlsAcceptor::from(tls).accept(Wire::new(stream)).await;
    let mut secured = secured.map_err(|source| Fault::new(Side::Peer, "shake hands with tunnel", source))?;
    secured.get_mut().1.set_buffer_limit(Some(terms::TLS_BUFFER));
    let chain = secured.get_ref().1.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
    let identity =
        credentials.peer(&chain).map_err(|source| Fault::new(Side::Peer, "read identity", source))?;
    let connection = terms::server(instance.open_tunnels()).handshake(secured).await;
    let connection = connection.map_err(|error| Fault::new(Side::Peer, "open tunnel", of_h2(error)))?;
    Ok(Shaken { connection, identity, chain, ourselves, trust })
}

/// A tunnel that stands.
struct Serving<'a> {
    instance: &'a Arc<Instance>,
    peer: &'a Arc<Peer>,
    chain: Chain,
    seat: Seat,
    connection: Connection<TlsStream<Wire>, Bytes>,
}

impl Serving<'_> {
    async fn run(mut self, mut trust: watch::Receiver<u64>) -> io::Result<()> {
        let mut keepalive = Keepalive::new(self.connection.ping_pong());
        let mut draining = self.instance.draining();
        let mut told = false;
        loop {
            let event = {
                let mut drained = pin!(draining.wait_for(|draining| *draining));
                let mut changed = pin!(trust.changed());
                poll_fn(|context| {
                    while let Poll::Ready(accepted) = self.connection.poll_accept(context) {
                        let Some(accepted) = accepted else { return Poll::Ready(Event::Ended(Ok(()))) };
                        let (request, respond) = match accepted {
                            Ok(accepted) => accepted,
                            Err(error) => return Poll::Ready(Event::Ended(Err(of_h2(error)))),
                        };
                        let (peer, seat) = (Arc::clone(self.peer), self.seat.another());
                        let runtime = seat.runtime().clone();
                        self.instance
                            .spawn(&runtime, |alive| stream::serve(alive, peer, seat, request, respond));
                    }
                    if let Poll::Ready(silent) = keepalive.poll(context) {
                        return Poll::Ready(Event::Ended(Err(silent)));
                    }
                    if !told && drained.as_mut().poll(context).is_ready() {
                        return Poll::Ready(Event::Draining);
                    }
                    if let Poll::Ready(Ok(())) = changed.as_mut().poll(context) {
                        return Poll::Ready(Event::TrustChanged);
                    }
                    Poll::Pending
                })
                .await
            };
            match event {
                Event::Ended(ended) => return ended,
                // Streams that are under way are finished, and the other end opens no more (RFC 9113, section 6.8).
                Event::Draining => {
                    told = true;
                    self.connection.graceful_shutdown();
                }
                Event::TrustChanged => {
                    let Peer { identity, client, .. } = &**self.peer;
                    verify_again(self.instance, &self.chain, identity, client.0)?;
                }
            }
        }
    }
}

/// What happens to a tunnel.
enum Event {
    Ended(io::Result<()>),
    Draining,
    TrustChanged,
}
