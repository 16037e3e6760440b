//! A connection whose protocol is to be found out, from its acceptance to whoever serves it.
//!
//! The upstream is dialled at once while the client's first bytes are looked at: whoever speaks first decides, and a protocol
//! that is not HTTP never waits. Nothing that was looked at is consumed.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use hyper::body::Bytes;
use tokio::time::sleep;

use super::choose::Endpoint;
use super::deciding::{Deciding, Decision, First, PATIENCE};
use super::dialling::{Far, Unreached, address, reach};
use super::front::Front;
use super::io::Carrier;
use super::memory::Habit;
use super::peek::{Near, Peeker};
use super::pool::Key;
use super::serve::serve;
use super::terms::{HttpTerms, Plan};
use super::watch::Watch;
use crate::model::Flag;
use crate::model::{ClientAddr, Direction, Fault, Identity, OriginalDst, Protocol, Side, Tier, Workload};
use crate::proxy::connection::{self, blame};
use crate::proxy::dial::{Dial, gone};
use crate::proxy::instance::Alive;
use crate::proxy::probing::OnlyProbes;
use crate::proxy::record::Record;
use crate::proxy::relay::End;
use crate::proxy::route::{NoRoute, Way};
use crate::proxy::tunnel;
use crate::proxy::workers::{Elsewhere, Seat};

/// A connection that is to be looked at.
pub(in crate::proxy) struct Arrival {
    pub(in crate::proxy) alive: Alive,
    pub(in crate::proxy) seat: Seat,
    pub(in crate::proxy) near: Near,
    pub(in crate::proxy) client: ClientAddr,
    pub(in crate::proxy) direction: Direction,
    pub(in crate::proxy) original: OriginalDst,
    /// Who the client proved to be, and who we are to it.
    pub(in crate::proxy) proved: Option<(Identity, Identity)>,
    /// The client, if it is known by more than its address.
    pub(in crate::proxy) peer: Option<Arc<Workload>>,
    /// What alone is let in, if not everything is.
    pub(in crate::proxy) probing: Option<Box<OnlyProbes>>,
    pub(in crate::proxy) terms: Arc<HttpTerms>,
    pub(in crate::proxy) plan: Plan,
    /// Where it goes if it is not HTTP, and its first request if it is.
    pub(in crate::proxy) routed: Result<Endpoint, NoRoute>,
    /// The upstream, where it had to be reached before.
    pub(in crate::proxy) far: Option<Far>,
    pub(in crate::proxy) record: Record,
}

/// Finds out what a connection is and serves it to its end.
pub(in crate::proxy) async fn take(mut arrival: Arrival) {
    // Boxed, so that its memory is free again as soon as it is decided.
    let (decision, far, since) = Box::pin(look(&mut arrival)).await;
    let Arrival {
        alive,
        seat,
        near,
        client,
        direction,
        original,
        proved,
        peer,
        probing,
        terms,
        routed,
        mut record,
        ..
    } = arrival;
    let instance = &alive.instance;
    match (&routed, direction) {
        (Ok(endpoint), Direction::Outbound) => {
            record.known(endpoint.workload.as_ref(), endpoint.service.as_ref());
        }
        _ => record.known(peer.as_ref(), None),
    }
    let (near, decision) = match (near, decision) {
        (Near::Socket(leg), Decision::Slow) => match leg.moved_to(seat.runtime()) {
            // Its readiness was cleared with bytes in its queue.
            Ok(leg) => (Near::Socket(leg), Decision::Http(Protocol::Http1)),
            Err(source) => return record.fail(Fault::new(Side::Agent, "watch connection", source)),
        },
        (near, Decision::Slow) => (near, Decision::Http(Protocol::Http1)),
        decided => decided,
    };
    match decision {
        Decision::Slow => {}
        Decision::Http(protocol) => {
            record.carried(Tier::Http);
            record.spoke(protocol, None);
            // A message that crosses threads costs a wake-up, so the connection goes where its tunnel is.
            let tunnel = match &routed {
                Ok(Endpoint { way: Way::Tunnel(hop), .. }) => tunnel::outbound::home(instance, hop),
                _ => None,
            };
            let elsewhere = tunnel.filter(|tunnel| !tunnel.shares_worker(&seat));
            let runtime = elsewhere.as_ref().map(|seat| seat.runtime().clone());
            let near = match (near, &runtime) {
                (Near::Socket(leg), Some(runtime)) => leg.moved_to(runtime).map(Near::Socket),
                (near, _) => Ok(near),
            };
            let near = match near {
                Ok(near) => near,
                Err(source) => return record.fail(Fault::new(Side::Agent, "move connection", source)),
            };
            let seat = elsewhere.unwrap_or(seat);
            let front = Arc::new(Front {
                proved,
                peer,
                probing,
                since,
                ..Front::new(instance, terms, seat, &record, original)
            });
            let begun = begin(alive, front, near, routed, far, protocol, record);
            match runtime {
                Some(runtime) => Elsewhere::spawn(&runtime, begun).ended().await,
                None => begun.await,
            }
        }
        Decision::Pass(protocol, server_name) => {
            record.spoke(protocol, server_name);
            if let Err((reason, fault)) = instance.admit_opaque(&mut record) {
                drop(near);
                drop(far);
                return connection::tell_refused(instance, client, direction, reason, fault, record);
            }
            let far = match (far, routed) {
                (Some(Ok(far)), routed) => {
                    if let Ok(endpoint) = &routed {
                        record.dialling(address(&endpoint.way));
                    }
                    far
                }
                (Some(Err(fault)), Ok(_)) => {
                    drop(near);
                    tracing::debug!(%fault, %client, direction = direction.word(), "connection was not made");
                    return record.fail(fault);
                }
                (_, Err(NoRoute { reason, message })) => {
                    drop(near);
                    let fault = nowhere(message);
                    return connection::tell_refused(instance, client, direction, reason, fault, record);
                }
                (None, Ok(_)) => return drop(record),
            };
            let rearmed = match near {
                // Its readiness was cleared with bytes in its queue.
                Near::Socket(leg) if since.is_some() => leg.moved_to(seat.runtime()).map(Near::Socket),
                near => Ok(near),
            };
            match rearmed {
                Ok(near) => pass(&alive, seat, near, far, client, direction, record).await,
                Err(source) => record.fail(Fault::new(Side::Agent, "watch connection", source)),
            }
        }
        Decision::Ended(fault) => {
            drop(near);
            drop(far);
            let reason = record.reason();
            connection::tell_refused(instance, client, direction, reason, fault, record);
        }
    }
}

fn nowhere(message: String) -> Fault {
    Fault::new(Side::Workload, "find route", io::Error::new(io::ErrorKind::HostUnreachable, message))
}

/// Looks at both ends until it is known what a connection is; with the upstream, if it was dialled for that, and when the first
/// bytes had come, if they were not enough.
async fn look(
    arrival: &mut Arrival,
) -> (Decision, Option<Result<Far, Fault>>, Option<Box<tokio::time::Instant>>) {
    let mut peeker = Peeker::default();
    let Arrival { alive, seat, near, client, direction, original, plan, terms, routed, .. } = arrival;
    let (instance, seat, client, direction, original) =
        (&alive.instance, &*seat, *client, *direction, *original);
    let demanded = *plan == Plan::Demand;
    let habit = if demanded { None } else { instance.memory.recall(direction, original, Instant::now()) };
    let begun = AtomicBool::new(false);
    let dialling = async {
        match habit {
            // Its requests find their own connections.
            _ if demanded => std::future::pending().await,
            Some(Habit::Http) => sleep(PATIENCE).await,
            Some(Habit::ServerFirst) | None => {}
        }
        begun.store(true, Ordering::Relaxed);
        let way = match &*routed {
            Ok(endpoint) => &endpoint.way,
            Err(NoRoute { message, .. }) => return Err(nowhere(message.clone())),
        };
        let dial = Dial { instance, client, upstream: address(way), direction };
        reach(instance, seat, dial, way, None).await
    };
    let mut dialling = pin!(dialling);
    let mut far = arrival.far.take().map(Ok);
    let decision = if habit == Some(Habit::ServerFirst) {
        Decision::Pass(Protocol::Opaque, None)
    } else {
        let silence = if demanded { terms.idle_timeout } else { instance.limits().idle_timeout };
        let whole = terms.header_timeout;
        let deciding = Deciding { near, far: &mut far, peeker: &mut peeker, direction, demanded, whole };
        let (decision, first) = deciding.run(dialling.as_mut(), pin!(sleep(silence))).await;
        if first == First::Server {
            instance.memory.note(direction, original, Habit::ServerFirst, Instant::now());
        }
        decision
    };
    match (&decision, &near) {
        (Decision::Ended(_), _) => {}
        (Decision::Http(_) | Decision::Slow, _) => {
            if !demanded && habit.is_none() {
                instance.memory.note(direction, original, Habit::Http, Instant::now());
            }
            if far.is_none() && begun.load(Ordering::Relaxed) {
                far = Some(dialling.await);
            }
        }
        (Decision::Pass(..), _) if far.is_some() => {}
        (Decision::Pass(..), Near::Socket(leg)) => {
            let reached = tokio::select! {
                biased;
                reached = dialling => reached,
                gone = gone(leg) => {
                    Err(Fault::new(blame(End::Client, direction), "wait for upstream", gone))
                }
            };
            far = Some(reached);
        }
        (Decision::Pass(..), Near::Stream(_)) => far = Some(dialling.await),
    }
    // Boxed, since hardly any connection has it.
    (decision, far, peeker.since().map(Box::new))
}

/// Serves a connection of HTTP to its end.
async fn begin(
    alive: Alive,
    front: Arc<Front>,
    near: Near,
    routed: Result<Endpoint, NoRoute>,
    far: Option<Result<Far, Fault>>,
    protocol: Protocol,
    record: Record,
) {
    Box::pin(prepare(&front, routed, far, protocol)).await;
    let carrier = match near {
        Near::Socket(leg) => Carrier::Socket(leg),
        Near::Stream(channel) => Carrier::Tunnel(channel),
    };
    speak(front, carrier, Bytes::new(), protocol, record).await;
    drop(alive);
}

/// Keeps what was chosen and reached for the first request.
async fn prepare(
    front: &Front,
    routed: Result<Endpoint, NoRoute>,
    far: Option<Result<Far, Fault>>,
    protocol: Protocol,
) {
    let Ok(mut endpoint) = routed else { return };
    let key = Key { way: endpoint.way.clone(), protocol };
    endpoint.ready = match far {
        None => None,
        Some(Ok(far)) if protocol == Protocol::Http2 => {
            // One of HTTP/2 is shared: what was dialled to find out is not needed if there is one by now.
            let dialling = front.pool.dialling(&key);
            let _turn = dialling.lock().await;
            if front.pool.has(&key) { None } else { Some(front.greet(key, far).await) }
        }
        Some(Ok(far)) => Some(front.greet(key, far).await),
        Some(Err(fault)) => Some(Err(Unreached { flag: Flag::UpstreamFailure, fault })),
    };
    front.keep_first(endpoint);
}

/// Serves HTTP and tells of it. `early` was read from the client before.
pub(in crate::proxy) async fn speak(
    front: Arc<Front>,
    carrier: Carrier,
    early: Bytes,
    protocol: Protocol,
    mut record: Record,
) {
    record.turned_http();
    let mut spoken = Speaking { record: Some(record), watch: Arc::clone(&front.watch) };
    let served = serve(Arc::clone(&front), carrier, early, protocol).await;
    let Some(record) = spoken.take() else { return };
    match served {
        Ok(()) => record.close(),
        Err(fault) => {
            tracing::debug!(%fault, client = %front.client, "connection of HTTP broke");
            record.fail(fault);
        }
    }
}

/// The record of a connection whose counts are elsewhere while it lives; dropped, it tells them too.
struct Speaking {
    record: Option<Record>,
    watch: Arc<Watch>,
}

impl Speaking {
    fn take(&mut self) -> Option<Record> {
        let mut record = self.record.take()?;
        record.carried_requests(self.watch.requests());
        let (sent, received) = self.watch.traffic();
        *record.traffic() = crate::model::Traffic { sent, received };
        Some(record)
    }
}

impl Drop for Speaking {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Carries a connection that is not looked at any more.
pub(in crate::proxy) async fn pass(
    alive: &Alive,
    seat: Seat,
    near: Near,
    far: Far,
    client: ClientAddr,
    direction: Direction,
    record: Record,
) {
    let instance = &alive.instance;
    match (near, far) {
        (Near::Socket(leg), Far::Plain(served)) => {
            connection::relay_to_the_end(instance, leg, served, client, direction, seat, record).await;
        }
        (Near::Socket(leg), Far::Tunnel(opened)) => {
            tunnel::outbound::relay(instance, seat, leg, *opened, record).await;
        }
        (Near::Stream(channel), Far::Plain(app)) => {
            let idle = instance.limits().idle_timeout;
            tunnel::relay::relay_to_the_end(app, Direction::Inbound, *channel, idle, record).await;
        }
        // A stream of a tunnel ends at the workload.
        (Near::Stream(_), Far::Tunnel(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_of_http_takes_little_memory() {
        fn size<A, F: Future>(_: impl FnOnce(A) -> F) -> usize {
            size_of::<F>()
        }
        // One allocation for as long as the connection lives; what hyper needs while requests come is beside it.
        assert!(size(take) <= 3584, "the future of one connection takes {} bytes", size(take));
    }
}
