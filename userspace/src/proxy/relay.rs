//! Bytes both ways between two sockets, with back-pressure, half-close and reset, in one task.
//!
//! The hot path is one wake, one read, one write: nothing is allocated, no clock is read, no timer is moved, and a
//! read that did not fill the buffer is not repeated to be told that there is no more (tokio clears the readiness
//! of a partial read, which is right under edge-triggered epoll). An idle connection holds neither buffer nor pipe.

mod flow;
mod idle;
mod pipe;
pub(super) mod scratch;
pub(super) mod socket;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;

pub(super) use flow::Stop;
use flow::{Farewell, Flow};
pub(super) use idle::Idle;
pub(super) use pipe::Pipes;

use super::workers::Seat;
use crate::model::Traffic;

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Whoever connected.
    Client,
    /// Whoever was dialled.
    Upstream,
    /// Neither: the instance itself.
    Neither,
}

/// What broke a connection.
#[derive(Debug)]
pub(super) struct Broken {
    /// At which end.
    pub(super) end: End,
    /// What was being done.
    pub(super) doing: &'static str,
    /// What went wrong.
    pub(super) source: io::Error,
}

/// Relays until both sides have closed, one of them broke, or nothing moved for `idle`.
///
/// When it returns, both sockets are to be closed at once: in order if all went well, else reset. The `seat` is given up as soon as one side has closed.
pub(super) async fn relay(
    client: &TcpStream,
    upstream: &TcpStream,
    idle: Duration,
    pipes: &Pipes,
    traffic: &mut Traffic,
    seat: Seat,
) -> Result<(), Broken> {
    let mut seat = Some(seat);
    // A side that is reset while nobody reads from it is noticed only this way. Polled only then, so that it costs
    // nothing otherwise.
    let mut client_reset = pin!(client.ready(Interest::ERROR));
    let mut upstream_reset = pin!(upstream.ready(Interest::ERROR));
    let look = pin!(tokio::time::sleep(idle));
    let mut idle = Idle::new(idle, look);
    let mut sent = Flow::new(client, upstream, pipes, &mut traffic.sent);
    let mut received = Flow::new(upstream, client, pipes, &mut traffic.received);

    poll_fn(|context| {
        let sending = step(&mut sent, &mut received, context)
            .map_err(|stop| stop.between(End::Client, End::Upstream))?;
        let receiving = step(&mut received, &mut sent, context)
            .map_err(|stop| stop.between(End::Upstream, End::Client))?;
        if sending.is_ready() && receiving.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if sending.is_ready() || receiving.is_ready() {
            // Half closed it is no load any more. Clients that open one connection after the other stay on one worker
            // this way: the end of the last is often not through when the next arrives.
            seat = None;
        }
        if !sent.reads() && client_reset.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(reset(End::Client, client)));
        }
        if !received.reads() && upstream_reset.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(reset(End::Upstream, upstream)));
        }
        idle.poll(sent.moved().wrapping_add(received.moved()), context).map(Err)
    })
    .await
}

/// Moves `flow`; if its sink broke, hands on what the sink had still said before it did.
fn step(flow: &mut Flow<'_>, back: &mut Flow<'_>, context: &mut Context<'_>) -> Poll<Result<(), Stop>> {
    let farewell = if back.has_ended() { Farewell::Close } else { Farewell::Shutdown };
    let polled = flow.poll(context, farewell);
    if let Poll::Ready(Err(Stop::Sink(..))) = polled {
        // A server that answers and closes without reading everything resets the connection behind its answer.
        // Directly connected, the client would still find the answer in its queue. Best effort: what matters
        // now is the first error.
        let _ = back.poll(context, Farewell::Shutdown);
    }
    polled
}

fn reset(end: End, stream: &TcpStream) -> Broken {
    let source = stream.take_error().ok().flatten().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
    Broken { end, doing: read_from(end), source }
}

const fn read_from(end: End) -> &'static str {
    match end {
        End::Client => "read from client",
        End::Upstream => "read from upstream",
        End::Neither => "relay",
    }
}

const fn write_to(end: End) -> &'static str {
    match end {
        End::Client => "write to client",
        End::Upstream => "write to upstream",
        End::Neither => "relay",
    }
}

impl Stop {
    /// Names the ends of the flow that stopped.
    pub(super) fn between(self, source: End, sink: End) -> Broken {
        match self {
            Self::Source(error) => Broken { end: source, doing: read_from(source), source: error },
            Self::Sink(error) => Broken { end: sink, doing: write_to(sink), source: error },
        }
    }
}
