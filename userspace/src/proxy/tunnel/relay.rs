//! Bytes between a socket and a stream of a tunnel, with back-pressure, half-close and reset, in one task.
//!
//! Nothing is read from the socket that the stream has no room for, and the stream's window opens only by what the socket
//! took: a slow reader makes us hold one window at most. What arrives in small frames meanwhile is put together, because each
//! frame costs far more than its bytes.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{RecvStream, SendStream};
use hyper::body::Bytes;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::channel::Channel;
use super::of_h2;
use crate::model::{Direction, Fault, Traffic};
use crate::proxy::connection::blame;
use crate::proxy::leg::Leg;
use crate::proxy::record::Record;
use crate::proxy::relay::{Broken, End, Idle, Stop, scratch, socket};

/// How many pieces one direction may move before it lets others run.
const ROUNDS: u32 = 16;
/// Frames below this are put together while the socket takes nothing.
const SMALL: usize = 4 << 10;

/// Relays between the workload's socket and a stream to the end of both, and tells it: in order, or with a reset at both.
pub(in crate::proxy) async fn relay_to_the_end(
    leg: Leg,
    direction: Direction,
    mut channel: Channel,
    idle: Duration,
    mut record: Record,
) {
    let Traffic { sent, received } = record.traffic();
    let (near, moved) = match direction {
        Direction::Outbound => (End::Client, (sent, received)),
        Direction::Inbound => (End::Upstream, (received, sent)),
    };
    match relay(&leg, near, &mut channel, idle, moved).await {
        Ok(()) => {
            leg.end();
            record.close();
        }
        Err(Broken { end, doing, source }) => {
            channel.send.send_reset(h2::Reason::CANCEL);
            drop(leg);
            let fault = Fault::new(blame(end, direction), doing, source);
            tracing::debug!(%fault, direction = direction.word(), "tunnelled connection broke");
            record.fail(fault);
        }
    }
}

/// Relays until both sides have closed, one of them broke, or nothing moved for `idle`.
///
/// `near` says which end of the connection the socket is; the tunnel is the other. `up` counts what came from the socket, `down`
/// what went to it. When it returns an error, the stream and the socket are to be reset.
async fn relay(
    socket: &TcpStream,
    near: End,
    channel: &mut Channel,
    idle: Duration,
    (up, down): (&mut u64, &mut u64),
) -> Result<(), Broken> {
    let far = match near {
        End::Client => End::Upstream,
        End::Upstream | End::Neither => End::Client,
    };
    let look = pin!(tokio::time::sleep(idle));
    let mut idle = Idle::new(idle, look);
    let mut socket_reset = pin!(socket.ready(Interest::ERROR));
    let mut upward = Upward { socket, send: &mut channel.send, moved: up, ended: false };
    let mut held = Held::default();
    held.push(std::mem::take(&mut channel.early));
    let mut downward =
        Downward { socket, receive: &mut channel.receive, held, moved: down, state: Receiving::Open };
    poll_fn(|context| {
        let sending = upward.poll(context).map_err(|stop| stop.between(near, far))?;
        let receiving = downward.poll(context).map_err(|stop| stop.between(far, near))?;
        if sending.is_ready() && receiving.is_ready() {
            return Poll::Ready(Ok(()));
        }
        // A stream whose reading has ended is noticed to be reset only by asking for it.
        if receiving.is_ready()
            && let Poll::Ready(reset) = upward.send.poll_reset(context)
        {
            let source = reset.map_or_else(of_h2, |reason| of_h2(reason.into()));
            return Poll::Ready(Err(Broken { end: far, doing: "write to tunnel", source }));
        }
        // And so is a socket that nobody reads from.
        if (upward.ended || sending.is_pending() && upward.is_blocked())
            && socket_reset.as_mut().poll(context).is_ready()
        {
            let source = socket.take_error().ok().flatten();
            let source = source.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
            return Poll::Ready(Err(Broken { end: near, doing: "read from socket", source }));
        }
        idle.poll(upward.moved.wrapping_add(*downward.moved), context).map(Err)
    })
    .await
}

/// From the socket into the stream.
struct Upward<'a> {
    socket: &'a TcpStream,
    send: &'a mut SendStream<Bytes>,
    moved: &'a mut u64,
    ended: bool,
}

impl Upward<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..ROUNDS {
            let room = ready!(self.poll_room(context))?;
            let read = scratch::with(|scratch| {
                let room = room.min(scratch.len());
                let read = ready!(socket::poll_read(self.socket, context, &mut scratch[..room]));
                Poll::Ready(read.map(|length| Bytes::copy_from_slice(&scratch[..length])))
            });
            let Poll::Ready(read) = read else {
                self.keep_nothing();
                return Poll::Pending;
            };
            let bytes = read.map_err(Stop::Source)?;
            let length = bytes.len();
            self.ended = length == 0;
            self.send.send_data(bytes, self.ended).map_err(|error| Stop::Sink(of_h2(error)))?;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            *self.moved += length as u64;
        }
        self.keep_nothing();
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Gives back room that is not needed now: what is kept is room that no other stream of the connection has, and many that
    /// are idle would keep all of it.
    fn keep_nothing(&mut self) {
        self.send.reserve_capacity(0);
    }

    /// How many bytes the stream takes, once the socket has some.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, Stop>> {
        let Poll::Ready(ready) = self.socket.poll_read_ready(context) else {
            self.keep_nothing();
            return Poll::Pending;
        };
        ready.map_err(Stop::Source)?;
        self.send.reserve_capacity(scratch::SIZE);
        loop {
            let room = self.send.capacity();
            if room > 0 {
                return Poll::Ready(Ok(room));
            }
            match ready!(self.send.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(Stop::Sink(of_h2(error)))),
                None => return Poll::Ready(Err(Stop::Sink(io::ErrorKind::BrokenPipe.into()))),
            }
        }
    }

    /// Whether it waits for room and so does not look at its socket.
    fn is_blocked(&self) -> bool {
        self.send.capacity() == 0
    }
}

/// What is left to do of the way from the stream to the socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Receiving {
    /// There may be more in the stream.
    Open,
    /// The stream has ended; what is held is to be written.
    Last,
    /// The socket was told.
    Ended,
}

/// From the stream to the socket.
struct Downward<'a> {
    socket: &'a TcpStream,
    receive: &'a mut RecvStream,
    held: Held,
    moved: &'a mut u64,
    state: Receiving,
}

impl Downward<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        for _ in 0..ROUNDS {
            match self.state {
                Receiving::Ended => return Poll::Ready(Ok(())),
                Receiving::Open => self.fetch(context)?,
                Receiving::Last => {}
            }
            let Some(front) = self.held.front() else {
                if self.state == Receiving::Open {
                    return Poll::Pending;
                }
                SockRef::from(self.socket).shutdown(Shutdown::Write).map_err(Stop::Sink)?;
                self.state = Receiving::Ended;
                continue;
            };
            let written = ready!(socket::poll_write(self.socket, context, front)).map_err(Stop::Sink)?;
            self.held.advance(written);
            *self.moved += written as u64;
            self.receive
                .flow_control()
                .release_capacity(written)
                .map_err(|error| Stop::Source(of_h2(error)))?;
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes what has arrived. The window bounds it.
    fn fetch(&mut self, context: &mut Context<'_>) -> Result<(), Stop> {
        while let Poll::Ready(received) = self.receive.poll_data(context) {
            match received {
                Some(Ok(bytes)) => self.held.push(bytes),
                Some(Err(error)) => return Err(Stop::Source(of_h2(error))),
                None => {
                    self.state = Receiving::Last;
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Bytes that were received and not yet written, in order.
#[derive(Default)]
struct Held {
    frames: VecDeque<Bytes>,
    /// Small frames behind those.
    tail: Vec<u8>,
}

impl Held {
    fn push(&mut self, bytes: Bytes) {
        let alone = self.frames.is_empty() && self.tail.is_empty();
        if bytes.is_empty() {
        } else if bytes.len() < SMALL && !alone {
            self.tail.extend_from_slice(&bytes);
        } else {
            self.close_tail();
            self.frames.push_back(bytes);
        }
    }

    fn front(&mut self) -> Option<&Bytes> {
        if self.frames.is_empty() {
            self.close_tail();
        }
        self.frames.front()
    }

    fn advance(&mut self, written: usize) {
        if let Some(front) = self.frames.front_mut() {
            let _written = front.split_to(written);
            if front.is_empty() {
                self.frames.pop_front();
            }
        }
        if self.frames.is_empty() {
            // An idle connection holds no memory for what once waited.
            self.frames = VecDeque::new();
        }
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.frames.push_back(std::mem::take(&mut self.tail).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_frames_are_put_together_and_order_is_kept() {
        let mut held = Held::default();
        let mut expected = Vec::new();
        for number in 0..200_u32 {
            let length = if number % 7 == 0 { SMALL + 1 } else { (number % 5) as usize };
            let frame = vec![number as u8; length];
            expected.extend_from_slice(&frame);
            held.push(frame.into());
        }
        assert!(held.frames.len() < 70, "{} pieces are held", held.frames.len());
        let mut seen = Vec::new();
        while let Some(front) = held.front() {
            let length = front.len().div_ceil(2);
            seen.extend_from_slice(&front[..length]);
            held.advance(length);
        }
        assert_eq!(seen, expected);
    }
}
