//! Connections to upstreams: taken from a pool, or dialled and greeted.

use std::io;
use std::pin::pin;
use std::sync::{Arc, Weak};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioTimer;

use super::front::Front;
use super::io::{Carrier, Io};
use super::pool::{self, Key, Known, Lent, Pool, Sender};
use super::spawning::Tasks;
use super::terms::HttpTerms;
use crate::model::{Direction, Fault, Flag, Protocol, Side, TraceParent, UpstreamAddr};
use crate::proxy::dial::Dial;
use crate::proxy::instance::Instance;
use crate::proxy::leg::Leg;
use crate::proxy::route::Way;
use crate::proxy::tunnel::outbound::{self, Tunnelled};
use crate::proxy::workers::Seat;

/// Windows of HTTP/2 towards what is far away: what one slow reader makes us hold at most.
pub(super) const STREAM_WINDOW: u32 = 1 << 20;
pub(super) const CONNECTION_WINDOW: u32 = 4 << 20;
/// The window of a stream towards the app beside us, from which nothing is far: a client that nobody knows may ask for much on
/// many streams and let none of it be sent.
const APP_STREAM_WINDOW: u32 = 32 << 10;
/// What is kept of a stream that cannot send, behind what its body has next.
pub(super) const SEND_BUFFER: usize = 16 << 10;

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct Unreached {
    pub(super) flag: Flag,
    pub(super) fault: Fault,
}

/// The second leg, however it goes.
pub(in crate::proxy) enum Far {
    /// A socket.
    Plain(Leg),
    /// A stream of a tunnel.
    Tunnel(Box<Tunnelled>),
}

/// Reaches the end of `way` for `front`, or for whoever it is the first connection of.
pub(in crate::proxy) async fn reach(
    instance: &Arc<Instance>,
    seat: &Seat,
    dial: Dial<'_>,
    way: &Way,
    trace: Option<TraceParent>,
) -> Result<Far, Fault> {
    match way {
        Way::Plain(_) => {
            let patience = instance.limits().connect_timeout;
            dial.run(None, std::future::pending(), patience).await.map(|stream| Far::Plain(Leg::new(stream)))
        }
        Way::Tunnel(hop) => {
            let opened = outbound::open(instance, seat, dial.client, hop, trace).await?;
            Ok(Far::Tunnel(Box::new(opened)))
        }
    }
}

impl Front {
    /// What dials for this client.
    fn dial(&self, way: &Way) -> Dial<'_> {
        Dial {
            instance: &self.instance,
            client: self.client,
            upstream: address(way),
            direction: self.direction,
        }
    }

    /// A connection that can carry a request: one that waits, or a new one.
    pub(super) async fn connection(&self, key: &Key, trace: Option<TraceParent>) -> Result<Lent, Unreached> {
        if let Some(lent) = self.pool.take(key) {
            return Ok(lent);
        }
        if key.protocol == Protocol::Http2 {
            // However many requests want a connection that does not stand yet, one of them dials it.
            let dialling = self.pool.dialling(key);
            let _turn = dialling.lock().await;
            if let Some(lent) = self.pool.take(key) {
                return Ok(lent);
            }
            return self.fresh(key, trace).await;
        }
        self.fresh(key, trace).await
    }

    /// A new connection.
    pub(super) async fn fresh(&self, key: &Key, trace: Option<TraceParent>) -> Result<Lent, Unreached> {
        if let Some(full) = self.instance.full_of_upstreams() {
            self.instance.count_over_limit();
            let fault = Fault::new(Side::Agent, "dial upstream", full.error());
            return Err(Unreached { flag: Flag::Overflow, fault });
        }
        let reached = reach(&self.instance, &self.seat, self.dial(&key.way), &key.way, trace).await;
        let far = reached.map_err(|fault| Unreached { flag: Flag::UpstreamFailure, fault })?;
        self.greet(key.clone(), far).await
    }

    /// Speaks HTTP on what has been reached.
    pub(super) async fn greet(&self, key: Key, far: Far) -> Result<Lent, Unreached> {
        let (carrier, proved) = match far {
            Far::Plain(leg) => (Carrier::Socket(leg), None),
            Far::Tunnel(opened) => {
                let Tunnelled { channel, source, destination, .. } = *opened;
                (Carrier::Tunnel(Box::new(channel)), Some((source, destination)))
            }
        };
        let known = Known::new(proved, Arc::default());
        let io = Io::upstream(carrier, Arc::clone(&known.awaited), known.hearing());
        let window = match self.direction {
            Direction::Outbound => STREAM_WINDOW,
            Direction::Inbound => APP_STREAM_WINDOW,
        };
        let sender =
            greet(&self.instance, &self.seat, &self.terms, key.protocol, window, io, &self.pool).await;
        let sender = sender.map_err(|error| Unreached {
            flag: Flag::UpstreamProtocol,
            fault: Fault::new(Side::Agent, "greet upstream", io::Error::other(error)),
        })?;
        Ok(self.pool.add(key, sender, known))
    }
}

/// Where a way is dialled.
pub(in crate::proxy) fn address(way: &Way) -> UpstreamAddr {
    match way {
        Way::Plain(upstream) => *upstream,
        Way::Tunnel(hop) => UpstreamAddr(hop.tunnel),
    }
}

async fn greet(
    instance: &Arc<Instance>,
    seat: &Seat,
    terms: &HttpTerms,
    protocol: Protocol,
    window: u32,
    io: Io,
    pool: &Arc<Pool>,
) -> hyper::Result<Sender> {
    let pool = Arc::downgrade(pool);
    let runtime = seat.runtime();
    if protocol == Protocol::Http2 {
        let tasks = Tasks::default();
        let (sender, connection) = http2::Builder::new(tasks.spawner())
            .timer(TokioTimer::new())
            .initial_stream_window_size(window)
            .max_send_buf_size(SEND_BUFFER)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(terms.max_header_size).unwrap_or(u32::MAX))
            .keep_alive_interval(std::time::Duration::from_secs(30))
            .handshake(io)
            .await?;
        instance.spawn_upstream(runtime, |alive| async move {
            drive(connection, pool).await;
            drop((tasks, alive));
        });
        return Ok(Sender::Http2(sender, Arc::default()));
    }
    let (sender, connection) = http1::Builder::new()
        .preserve_header_case(true)
        .max_buf_size(terms.max_header_size.max(8 << 10))
        .max_header_size(terms.max_header_size)
        .handshake(io)
        .await?;
    instance.spawn_upstream(runtime, |alive| async move {
        drive(connection.with_upgrades(), pool).await;
        drop(alive);
    });
    Ok(Sender::Http1(sender))
}

/// Keeps a connection going to its end, and ends what waits too long beside it.
async fn drive(connection: impl Future<Output = hyper::Result<()>>, pool: Weak<Pool>) {
    let mut connection = pin!(connection);
    let mut look = tokio::time::interval(pool::IDLE / 3);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection to an upstream broke");
                }
                return;
            }
            _ = look.tick() => {
                if let Some(pool) = pool.upgrade() {
                    pool.sweep();
                }
            }
        }
    }
}
