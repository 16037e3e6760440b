//! One connection from acceptance to its end: learn where it goes, dial, relay, tell.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Instant;

use socket2::Socket;

use super::admission::Admitted;
use super::canonical;
use super::dial::{Dial, gone};
use super::http::intake::{self, Arrival};
use super::http::peek::Near;
use super::http::terms::Plan;
use super::instance::{Alive, Full, Instance};
use super::leg::Leg;
use super::probing::{self, OnlyProbes};
use super::record::Record;
use super::relay::{self, Broken, End};
use super::route::{self, NoRoute, Route, Way};
use super::tunnel::outbound;
use super::workers::Seat;
use crate::model::{ClientAddr, Destination, Direction, Fault, OriginalDst, Protocol, Reason, Side};

/// A connection that has just been accepted.
pub(super) struct Accepted {
    /// Its place on the worker that it is served on.
    pub(super) seat: Seat,
    /// The socket to whoever connected, watched by that worker.
    pub(super) leg: Leg,
    /// A socket for the other leg, of the listener's family.
    pub(super) second: Socket,
    /// Whoever connected.
    pub(super) client: ClientAddr,
    /// The listener that accepted it.
    pub(super) listener: SocketAddr,
    /// Which way it goes.
    pub(super) direction: Direction,
}

/// Serves a connection to its end. Sockets are closed before the end is told.
pub(super) async fn serve(alive: Alive, accepted: Accepted) {
    let instance = &*alive.instance;
    let mut record = Record::open(&alive, accepted.direction, accepted.client);
    let original = match destination(instance, &accepted) {
        Ok((original, reason)) => {
            record.captured(original, reason);
            original
        }
        Err(refusal) => return refuse(instance, accepted, record, refusal),
    };
    if accepted.direction == Direction::Outbound {
        instance.look_for(original).await;
    }
    let terms = instance.http();
    let declared = declared(instance, accepted.direction, original);
    let plan = terms.plan(accepted.direction, original.0.port(), declared);
    let (plan, probing) = match admit(instance, &mut record) {
        Ok(Admitted::Fully) => (plan, None),
        Ok(Admitted::ByContent) => (plan.looking(), None),
        Ok(Admitted::Probing(probing, refused)) => {
            record.probes();
            if probing.is_touch_only() {
                return Box::pin(probing::touch(instance, accepted, original, &refused, record)).await;
            }
            // Where nothing but probes is let in, somebody has to look.
            (Plan::Demand, Some(Box::new(OnlyProbes { probing, refused })))
        }
        Err(refusal) => return refuse(instance, accepted, record, refusal),
    };
    let routed = route(instance, &accepted, original);
    if !matches!(plan, Plan::Pass(_)) {
        // Requests are told, each for itself, that there is nowhere to go.
        let routed = routed.map(Into::into);
        let Accepted { seat, leg, second, client, direction, .. } = accepted;
        // Each of its connections has its own.
        drop(second);
        let arrival = Arrival {
            alive,
            seat,
            near: Near::Socket(leg),
            client,
            direction,
            original,
            proved: None,
            peer: None,
            probing,
            terms,
            plan,
            routed,
            far: None,
            record,
        };
        // Boxed, so that a connection that is not looked at does not take the memory of one that is.
        return Box::pin(intake::take(arrival)).await;
    }
    if let Plan::Pass(Some(protocol)) = plan {
        record.spoke(protocol, None);
    }
    if let Err((reason, fault)) = instance.admit_opaque(&mut record) {
        return refuse(instance, accepted, record, Refusal { reason, fault });
    }
    let Route { picked, way, service, workload } = match routed {
        Ok(route) => route,
        Err(none) => return refuse(instance, accepted, record, none.into()),
    };
    record.known(workload.as_ref(), service.as_ref());
    drop((service, workload));
    // Counts for its endpoint until the connection has ended.
    let _picked = picked;
    let upstream = match way {
        Way::Plain(upstream) => upstream,
        Way::Tunnel(hop) => {
            let Accepted { seat, leg, client, second, .. } = accepted;
            // The tunnel has its own: a descriptor kept for nothing would halve how many connections there can be.
            drop(second);
            // Boxed, so that a connection without a tunnel does not take the memory of one with.
            return Box::pin(outbound::carry(&alive.instance, seat, leg, client, hop, record)).await;
        }
    };
    record.dialling(upstream);

    let limits = instance.limits();
    let Accepted { seat, leg: client, second, client: address, direction, listener } = accepted;
    let second = (listener.is_ipv4() == upstream.0.is_ipv4()).then_some(second);
    let dial = Dial { instance, client: address, upstream, direction };
    let dialled = dial.run(second, gone(&client), limits.connect_timeout).await;
    let served = match dialled {
        Ok(stream) => Leg::new(stream),
        Err(fault) => {
            drop(client);
            tracing::debug!(%fault, %address, %upstream, direction = direction.word(), "connection was not made");
            return record.fail(fault);
        }
    };
    relay_to_the_end(instance, client, served, address, direction, seat, record).await;
}

/// Relays between two sockets to the end of both, and tells it.
pub(super) async fn relay_to_the_end(
    instance: &Instance,
    client: Leg,
    served: Leg,
    address: ClientAddr,
    direction: Direction,
    seat: Seat,
    mut record: Record,
) {
    let limits = instance.limits();
    match relay::relay(&client, &served, limits.idle_timeout, &instance.pipes, record.traffic(), seat).await {
        Ok(()) => {
            client.end();
            served.end();
            tracing::debug!(%address, direction = direction.word(), "connection ended");
            record.close();
        }
        Err(Broken { end, doing, source }) => {
            drop(client);
            drop(served);
            let fault = Fault::new(blame(end, direction), doing, source);
            tracing::debug!(%fault, %address, direction = direction.word(), "connection broke");
            record.fail(fault);
        }
    }
}

/// Resets a connection that is one too many.
pub(super) fn turn_away(instance: &Instance, accepted: Accepted, full: Full) {
    let mut record = Record::unserved(instance, accepted.direction, accepted.client);
    if let Ok((original, reason)) = destination(instance, &accepted) {
        record.captured(original, reason);
    }
    if let Some(held_back) = instance.refusals.admit(Instant::now()) {
        let error = full.error();
        tracing::warn!(%error, held_back, client = %accepted.client, "connection reset: it is one too many");
    }
    drop(accepted);
    record.fail(Fault::new(Side::Agent, "admit connection", full.error()));
}

/// Why a connection is not served.
struct Refusal {
    reason: Reason,
    fault: Fault,
}

fn refuse(instance: &Instance, accepted: Accepted, record: Record, refusal: Refusal) {
    let Refusal { reason, fault } = refusal;
    if let Some(held_back) = instance.refusals.admit(Instant::now()) {
        tracing::warn!(
            client = %accepted.client,
            listener = %accepted.listener,
            direction = accepted.direction.word(),
            reason = reason.word(),
            %fault,
            held_back,
            "connection refused"
        );
    }
    drop(accepted);
    record.refuse(reason, fault);
}

/// Tells of a connection that was not let on, whose sockets are closed.
pub(super) fn tell_refused(
    instance: &Instance,
    client: ClientAddr,
    direction: Direction,
    reason: Reason,
    fault: Fault,
    record: Record,
) {
    if let Some(held_back) = instance.refusals.admit(Instant::now()) {
        tracing::warn!(
            %client,
            direction = direction.word(),
            reason = reason.word(),
            %fault,
            held_back,
            "connection refused"
        );
    }
    record.refuse(reason, fault);
}

/// What a destination is declared to speak.
pub(super) fn declared(instance: &Instance, direction: Direction, original: OriginalDst) -> Option<Protocol> {
    if direction == Direction::Inbound {
        return None;
    }
    match instance.neighbours().directory.resolve(original) {
        Destination::Service { port, .. } => port.protocol,
        Destination::Workload(_) | Destination::NoSuchPort(_) | Destination::Unknown => None,
    }
}

impl From<NoRoute> for Refusal {
    fn from(NoRoute { reason, message }: NoRoute) -> Self {
        let source = io::Error::new(io::ErrorKind::HostUnreachable, message);
        Self { reason, fault: Fault::new(Side::Workload, "find route", source) }
    }
}

/// Where a connection wanted to go and why it was captured; never guessed.
fn destination(instance: &Instance, accepted: &Accepted) -> Result<(OriginalDst, Reason), Refusal> {
    let unread = |source| Refusal {
        reason: Reason::NoHandoff,
        fault: Fault::new(Side::Agent, "read original destination", source),
    };
    let (found, near): (_, IpAddr) = match accepted.direction {
        Direction::Outbound => {
            (instance.handoffs.original_destination(accepted.leg.as_fd()), accepted.client.0.ip())
        }
        Direction::Inbound => {
            let local = canonical(accepted.leg.local_addr().map_err(unread)?);
            (instance.handoffs.inbound_destination(accepted.leg.as_fd(), local), local.ip())
        }
    };
    let (original, reason) = found.map_err(unread)?.ok_or_else(|| {
        unread(io::Error::new(io::ErrorKind::NotFound, "the socket carries no handoff: nothing captured it"))
    })?;
    let original = OriginalDst(canonical(original.0));
    if instance.own.contain(original, near) {
        let source = io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{original} is the instance's own listener; dial what is to be reached instead"),
        );
        let side = blame(End::Client, accepted.direction);
        return Err(Refusal {
            reason: Reason::OwnListener,
            fault: Fault::new(side, "admit connection", source),
        });
    }
    Ok((original, reason))
}

/// Where a connection goes that wanted to go to `original`: inbound to the app, if it is let in.
fn route(instance: &Instance, accepted: &Accepted, original: OriginalDst) -> Result<Route, NoRoute> {
    match accepted.direction {
        Direction::Outbound => route::find(&instance.neighbours(), &instance.balance, original),
        Direction::Inbound => Ok(Route::plain(original)),
    }
}

/// How far a connection is let in.
fn admit(instance: &Instance, record: &mut Record) -> Result<Admitted, Refusal> {
    if record.direction() == Direction::Outbound {
        return Ok(Admitted::Fully);
    }
    instance.admit(record).map_err(|(reason, fault)| Refusal { reason, fault })
}

/// Who is at that end of a connection.
pub(super) const fn blame(end: End, direction: Direction) -> Side {
    match (end, direction) {
        (End::Client, Direction::Outbound) | (End::Upstream, Direction::Inbound) => Side::Workload,
        (End::Client, Direction::Inbound) | (End::Upstream, Direction::Outbound) => Side::Peer,
        (End::Neither, _) => Side::Agent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_connection_takes_little_memory() {
        fn size<A, B, F: Future>(_: impl FnOnce(A, B) -> F) -> usize {
            size_of::<F>()
        }
        // The promise is 12 KiB for an idle connection with everything that belongs to it; tokio adds about 256
        // bytes for each of the two sockets and as much for the task.
        assert!(size(serve) <= 2048, "the future of one connection takes {} bytes", size(serve));
    }
}
