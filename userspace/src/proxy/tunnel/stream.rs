//! One connection that came through a tunnel, from its CONNECT to its end.
//!
//! Answers (the wire's, which Istio's ambient mesh shares): 200 the app took it; 400 it was no CONNECT to the address that the
//! tunnel was dialled at; 401 it is not let in; 503 the app could not be reached, the instance is full, or the port is one of
//! the mesh's own.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use h2::RecvStream;
use h2::server::SendResponse;
use http::{Request, StatusCode};
use hyper::body::Bytes;

use super::channel::Channel;
use super::message::{self, Connect};
use super::relay::relay_to_the_end;
use super::server::Peer;
use super::{fault, of_h2};
use crate::model::{Direction, Fault, Reason, Side, TUNNEL_PORT, Tier, UpstreamAddr};
use crate::proxy::admission::Admitted;
use crate::proxy::connection;
use crate::proxy::dial::Dial;
use crate::proxy::http::dialling::Far;
use crate::proxy::http::intake::{self, Arrival};
use crate::proxy::http::peek::Near;
use crate::proxy::http::terms::Plan;
use crate::proxy::instance::Alive;
use crate::proxy::leg::Leg;
use crate::proxy::record::Record;
use crate::proxy::route::Route;
use crate::proxy::workers::Seat;

/// Ports that every workload of the mesh keeps for itself: outbound, inbound, tunnel.
const RESERVED: [u16; 3] = [15001, 15006, TUNNEL_PORT];

/// Serves one connection to its end.
pub(super) async fn serve(
    alive: Alive,
    peer: Arc<Peer>,
    seat: Seat,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let instance = &*alive.instance;
    let connect = message::read(&request);
    let forwarded = connect.as_ref().ok().and_then(|connect| connect.forwarded_for);
    let client = message::client(peer.client.0, forwarded);
    let mut record = Record::open(&alive, Direction::Inbound, client);
    record.carried(Tier::Tunnel);
    record.proved(&peer.identity, &peer.ourselves);
    let connect =
        connect.map_err(|said| Refusal::new(StatusCode::BAD_REQUEST, Reason::Tunnel, Side::Peer, said));
    let admitted = connect.and_then(|connect| {
        record.captured(connect.target, Reason::Tunnel);
        record.named(&connect.baggage);
        if let Some(trace) = connect.trace {
            record.traced(trace.trace);
        }
        admit(&alive, &peer, &connect, &mut record).map(|admitted| (connect, admitted))
    });
    let (connect, admitted) = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => {
            answer(&mut respond, refusal.status);
            if let Some(held_back) = instance.refusals.admit(Instant::now()) {
                let fault = &refusal.fault;
                tracing::warn!(%client, peer = %peer.identity, reason = refusal.reason.word(), %fault, held_back, "connection refused");
            }
            return record.refuse(refusal.reason, refusal.fault);
        }
    };
    let terms = instance.http();
    let mut plan = terms.plan(Direction::Inbound, connect.target.0.port(), None);
    if matches!(admitted, Admitted::ByContent) {
        plan = plan.looking();
    }
    if let Plan::Pass(_) = plan
        && let Err((reason, fault)) = instance.admit_opaque(&mut record)
    {
        answer(&mut respond, StatusCode::UNAUTHORIZED);
        return connection::tell_refused(instance, client, Direction::Inbound, reason, fault, record);
    }
    let upstream = UpstreamAddr(connect.target.0);
    record.dialling(upstream);
    let limits = instance.limits();
    let dial = Dial { instance, client, upstream, direction: Direction::Inbound };
    let gone = async {
        let reset = std::future::poll_fn(|context| respond.poll_reset(context)).await;
        reset.map_or_else(of_h2, |reason| of_h2(reason.into()))
    };
    let dialled = dial.run(None, gone, limits.connect_timeout).await;
    let app = match dialled {
        Ok(stream) => Leg::new(stream),
        Err(fault) => {
            answer(&mut respond, StatusCode::SERVICE_UNAVAILABLE);
            return record.fail(fault);
        }
    };
    let workload = instance.tunnelling.as_ref().map_or("", |tunnelling| &tunnelling.workload);
    let send = match respond.send_response(message::accepted(&peer.ourselves, workload), false) {
        Ok(send) => send,
        Err(error) => return record.fail(Fault::new(Side::Peer, "answer", of_h2(error))),
    };
    let channel = Channel::new(send, request.into_body());
    if let Plan::Pass(declared) = plan {
        if let Some(protocol) = declared {
            record.spoke(protocol, None);
        }
        let _seat = seat;
        return relay_to_the_end(app, Direction::Inbound, channel, limits.idle_timeout, record).await;
    }
    let directory = &instance.neighbours().directory;
    let arrival = Arrival {
        seat,
        near: Near::Stream(Box::new(channel)),
        client,
        direction: Direction::Inbound,
        original: connect.target,
        proved: Some((peer.identity.clone(), peer.ourselves.clone())),
        // Known by its certificate and its address together, never by its address alone.
        peer: directory.workload(client.0.ip()).filter(|known| known.identity == peer.identity).cloned(),
        probing: None,
        terms,
        plan,
        routed: Ok(Route::plain(connect.target).into()),
        far: Some(Far::Plain(app)),
        record,
        alive,
    };
    Box::pin(intake::take(arrival)).await;
}

/// Why a connection is not let in, and what the other end is told.
struct Refusal {
    status: StatusCode,
    reason: Reason,
    fault: Fault,
}

impl Refusal {
    fn new(status: StatusCode, reason: Reason, side: Side, message: impl Into<String>) -> Self {
        let source = fault(io::ErrorKind::InvalidInput, message);
        Self { status, reason, fault: Fault::new(side, "admit tunnelled connection", source) }
    }
}

fn admit(alive: &Alive, peer: &Peer, connect: &Connect, record: &mut Record) -> Result<Admitted, Refusal> {
    let instance = &*alive.instance;
    let target = connect.target;
    if target.0.ip() != peer.local.ip() {
        let message = format!(
            "expected the address that the tunnel was dialled at, {}, found {}",
            peer.local.ip(),
            target.0.ip()
        );
        return Err(Refusal::new(StatusCode::BAD_REQUEST, Reason::Tunnel, Side::Peer, message));
    }
    if RESERVED.contains(&target.0.port()) || instance.own.contain(target, peer.local.ip()) {
        let message = format!("{target} is a port of the mesh's own; dial what is to be reached instead");
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Reason::OwnListener, Side::Peer, message));
    }
    // It counts as one of them already.
    if let Some(full) = instance.full(instance.active().saturating_sub(1)) {
        instance.count_over_limit();
        let message = full.error().to_string();
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Reason::Tunnel, Side::Agent, message));
    }
    instance.admit(record).map_err(|(reason, fault)| Refusal {
        status: StatusCode::UNAUTHORIZED,
        reason,
        fault,
    })
}

/// Ends the stream with an answer. One that cannot be sent finds nobody to hear it.
fn answer(respond: &mut SendResponse<Bytes>, status: StatusCode) {
    let _ = respond.send_response(message::answer(status), true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_stream_takes_little_memory() {
        fn size<A, B, C, D, E, F: Future>(_: impl FnOnce(A, B, C, D, E) -> F) -> usize {
            size_of::<F>()
        }
        // The promise is 16 KiB for an idle stream with everything that belongs to it, at either end.
        assert!(size(serve) <= 3072, "the future of one stream takes {} bytes", size(serve));
    }
}
