//! A tunnel that we dial: TCP, TLS, HTTP/2, and the task that keeps it going.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use h2::client::{Connection, SendRequest};
use http::{Request, StatusCode};
use hyper::body::Bytes;
use rustls::pki_types::ServerName;
use socket2::Domain;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::channel::Channel;
use super::keepalive::Keepalive;
use super::pool::Ends;
use super::terms::{self, CLIENT_STREAMS, PING_PERIOD, TLS_BUFFER};
use super::wire::Wire;
use super::{Chain, fault, of_h2, verify_again};
use crate::model::{Fault, Side};
use crate::proxy::dial;
use crate::proxy::instance::Instance;
use crate::proxy::workers::Seat;

/// How often a tunnel that is to end soon is looked at for streams.
const SHORTEST_LOOK: Duration = Duration::from_millis(20);

/// A tunnel that stands, or stood.
#[derive(Debug)]
pub(super) struct Tunnel {
    requests: SendRequest<Bytes>,
    /// Where it lives, and its streams with it.
    seat: Seat,
    established: Instant,
    streams: AtomicUsize,
    closing: AtomicBool,
    /// When the last stream ended.
    idle_since: Mutex<Instant>,
}

impl Tunnel {
    pub(super) const fn established(&self) -> Instant {
        self.established
    }

    /// The worker that it lives on.
    pub(super) const fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Whether it carries nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.load(Ordering::Acquire) == 0
    }

    fn idle_for(&self) -> Option<Duration> {
        let since = *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_idle().then(|| since.elapsed())
    }
}

/// A place for one stream.
#[derive(Debug)]
pub(super) struct Lease(Arc<Tunnel>);

impl Lease {
    /// A place in `tunnel`, unless it is closing or full.
    pub(super) fn take(tunnel: &Arc<Tunnel>) -> Option<Self> {
        let most = CLIENT_STREAMS.min(tunnel.requests.current_max_send_streams());
        let taken = tunnel.streams.fetch_add(1, Ordering::AcqRel);
        // From here on dropping it gives the place back.
        let lease = Self(Arc::clone(tunnel));
        (taken < most && !tunnel.closing.load(Ordering::Acquire)).then_some(lease)
    }

    pub(super) const fn tunnel(&self) -> &Arc<Tunnel> {
        &self.0
    }

    /// The worker that the tunnel lives on.
    pub(super) fn seat(&self) -> &Seat {
        &self.0.seat
    }

    /// Asks for a connection and waits for the answer.
    pub(super) async fn open(&self, request: Request<()>) -> Result<Opened, Unopened> {
        let sent = async {
            let mut requests = self.0.requests.clone().ready().await?;
            let (response, send) = requests.send_request(request, false)?;
            Ok((response.await?, send))
        };
        let (response, send) = sent.await.map_err(|error: h2::Error| {
            // The connection as a whole, or a stream that the other end says it has not looked at (RFC 9113, section 8.7).
            let untouched =
                error.is_io() || error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM);
            let gone = untouched || error.is_library();
            if gone { Unopened::Gone(of_h2(error)) } else { Unopened::Failed(of_h2(error)) }
        })?;
        match response.status() {
            StatusCode::OK => {
                let said = super::message::said(response.headers());
                Ok(Opened { channel: Channel::new(send, response.into_body()), said })
            }
            status => Err(Unopened::Answered(status)),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        *self.0.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A stream that the other end has accepted.
pub(super) struct Opened {
    pub(super) channel: Channel,
    /// What it says of itself.
    pub(super) said: super::baggage::Baggage,
}

/// Why there is no stream.
#[derive(Debug)]
pub(super) enum Unopened {
    /// The tunnel is dead or closing, and the request has had no effect: another one may have it.
    Gone(io::Error),
    /// The stream broke before it was answered.
    Failed(io::Error),
    /// The other end said no.
    Answered(StatusCode),
}

/// Dials, and hands out the tunnel with what has to drive it.
pub(super) async fn dial(
    instance: &Instance,
    ends: &Ends,
    seat: Seat,
) -> Result<(Arc<Tunnel>, Driver), Fault> {
    let patience = instance.limits().connect_timeout;
    let dialled = timeout(patience, connect(instance, ends))
        .await
        .unwrap_or_else(|_elapsed| Err(Fault::new(Side::Peer, "dial tunnel", dial::late(patience))));
    let Dialled { requests, mut connection, chain, trust } = match dialled {
        Ok(dialled) => dialled,
        Err(fault) => {
            instance.tunnels.count_failed_dial();
            return Err(fault);
        }
    };
    instance.tunnels.count_dialled();
    let keepalive = Keepalive::new(connection.ping_pong());
    let now = Instant::now();
    let tunnel = Arc::new(Tunnel {
        requests,
        seat,
        established: now,
        streams: AtomicUsize::new(0),
        closing: AtomicBool::new(false),
        idle_since: Mutex::new(now),
    });
    Ok((tunnel, Driver { connection, keepalive, chain, trust }))
}

/// A tunnel whose handshakes are done.
struct Dialled {
    requests: SendRequest<Bytes>,
    connection: Connection<TlsStream<Wire>>,
    /// What the other end proved itself with.
    chain: Chain,
    /// Changes when that is worth verifying again.
    trust: watch::Receiver<u64>,
}

async fn connect(instance: &Instance, ends: &Ends) -> Result<Dialled, Fault> {
    let agent = |doing| move |source| Fault::new(Side::Agent, doing, source);
    let Some(tunnelling) = &instance.tunnelling else {
        let none = fault(io::ErrorKind::Unsupported, "the workload has no identity to prove (identity)");
        return Err(Fault::new(Side::Agent, "dial tunnel", none));
    };
    let trust = tunnelling.credentials.changes();
    let tls = tunnelling.credentials.client(&ends.destination).map_err(agent("present certificate"))?;
    let socket = instance.socket(Domain::for_address(ends.address)).map_err(agent("open socket"))?;
    let stream = dial::connect(socket, ends.address).await.map_err(|source| {
        let side = if dial::is_our_own(&source) { Side::Agent } else { Side::Peer };
        Fault::new(side, "dial tunnel", source)
    })?;
    // An address is never sent as SNI (RFC 6066, section 3); identities are compared, not names.
    let name = ServerName::IpAddress(ends.address.ip().into());
    let secured = TlsConnector::from(tls).connect(name, Wire::new(stream)).await;
    let mut secured = secured.map_err(|source| Fault::new(Side::Peer, "shake hands with tunnel", source))?;
    secured.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
    let chain = secured.get_ref().1.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
    let shaken = terms::client(instance.open_tunnels()).handshake(secured).await;
    let (requests, connection) =
        shaken.map_err(|error| Fault::new(Side::Peer, "open tunnel", of_h2(error)))?;
    Ok(Dialled { requests, connection, chain, trust })
}

/// What keeps a tunnel going.
pub(super) struct Driver {
    connection: Connection<TlsStream<Wire>>,
    keepalive: Keepalive,
    chain: Chain,
    trust: watch::Receiver<u64>,
}

impl Driver {
    /// Drives the tunnel to its end: the other end closed it, fell silent or lost our trust, or it carried nothing for too
    /// long.
    pub(super) async fn drive(mut self, instance: &Instance, ends: &Ends, known: Weak<Tunnel>) {
        let mut draining = instance.draining();
        let patience = instance.limits().tunnel_idle_timeout;
        let mut look = tokio::time::interval((patience / 4).clamp(SHORTEST_LOOK, PING_PERIOD));
        let retire = |tunnel: &Arc<Tunnel>| {
            tunnel.closing.store(true, Ordering::Release);
            instance.pool.retire(ends, tunnel);
        };
        let mut drained = pin!(draining.wait_for(|draining| *draining));
        let mut told = false;
        let ended = loop {
            let mut changed = pin!(self.trust.changed());
            let event = poll_fn(|context| {
                if let Poll::Ready(ended) = pin!(&mut self.connection).poll(context) {
                    return Poll::Ready(Event::Ended(ended.map_err(of_h2)));
                }
                if let Poll::Ready(silent) = self.keepalive.poll(context) {
                    return Poll::Ready(Event::Ended(Err(silent)));
                }
                if let Poll::Ready(Ok(())) = changed.as_mut().poll(context) {
                    return Poll::Ready(Event::TrustChanged);
                }
                if !told && drained.as_mut().poll(context).is_ready() {
                    told = true;
                    look = tokio::time::interval(SHORTEST_LOOK);
                }
                while look.poll_tick(context).is_ready() {
                    if let Some(tunnel) = known.upgrade()
                        && tunnel.idle_for().is_some_and(|idle| told || idle >= patience)
                    {
                        retire(&tunnel);
                    }
                }
                Poll::Pending
            });
            match event.await {
                Event::Ended(ended) => break ended,
                Event::TrustChanged => {
                    if let Err(error) = verify_again(instance, &self.chain, &ends.destination, ends.address) {
                        break Err(error);
                    }
                }
            }
        };
        if let Some(tunnel) = known.upgrade() {
            retire(&tunnel);
        }
        let address: SocketAddr = ends.address;
        match ended {
            Ok(()) => tracing::debug!(%address, peer = %ends.destination, "tunnel ended"),
            Err(error) => tracing::debug!(%error, %address, peer = %ends.destination, "tunnel broke"),
        }
    }
}

/// What happens to a tunnel.
enum Event {
    Ended(io::Result<()>),
    TrustChanged,
}
