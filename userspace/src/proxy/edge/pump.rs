//! Bytes between a socket and a TLS connection, both ways in one task, with back-pressure, half-close and reset.
//!
//! TLS ends a direction with a message of its own (`close_notify`). A connection that ends without one was cut short by
//! somebody, which only protocols that say themselves where they end need not care about.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::model::Traffic;
use crate::proxy::relay::{Broken, End, Idle, Stop, scratch, socket};

/// How many pieces one direction may move before it lets others run.
const ROUNDS: u32 = 16;
/// Bytes of the largest record.
const RECORD: usize = 16 << 10;

thread_local! {
    /// What was decrypted. The other buffer of the thread is in use meanwhile, for what was not yet.
    static CLEAR: RefCell<Box<[u8]>> = RefCell::new(vec![0; RECORD].into_boxed_slice());
}

/// What a TLS connection that ends without saying so means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truncation {
    /// It broke.
    Reset,
    /// It ended.
    End,
}

/// Moves bytes until both sides have closed, one of them broke, or nothing moved for `idle`. `near` says which end of the
/// connection the socket is.
///
/// When it returns, both are to be closed at once: in order if all went well, else reset.
pub(super) async fn pump<S: AsyncRead + AsyncWrite + Unpin>(
    plain: &TcpStream,
    near: End,
    secured: &mut S,
    truncation: Truncation,
    idle: Duration,
    traffic: &mut Traffic,
) -> Result<(), Broken> {
    let look = pin!(tokio::time::sleep(idle));
    let mut idle = Idle::new(idle, look);
    let mut plain_reset = pin!(plain.ready(Interest::ERROR));
    let Traffic { sent, received } = traffic;
    let (far, up, down) = match near {
        End::Client => (End::Upstream, sent, received),
        End::Upstream | End::Neither => (End::Client, received, sent),
    };
    let mut up = Up { state: State::Moving, moved: up };
    let mut down = Down { state: State::Moving, moved: down, truncation };
    poll_fn(|context| {
        let upward = up.poll(plain, secured, context).map_err(|stop| stop.between(near, far))?;
        let downward = down.poll(secured, plain, context).map_err(|stop| stop.between(far, near))?;
        if upward.is_ready() && downward.is_ready() {
            return Poll::Ready(Ok(()));
        }
        // A socket that nobody reads from is noticed to be reset only this way.
        if !matches!(up.state, State::Moving) && plain_reset.as_mut().poll(context).is_ready() {
            let source = plain.take_error().ok().flatten();
            let source = source.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
            return Poll::Ready(Err(Broken { end: near, doing: "read from socket", source }));
        }
        idle.poll(up.moved.wrapping_add(*down.moved), context).map(Err)
    })
    .await
}

/// What one direction does.
enum State {
    /// Reads, and writes at once.
    Moving,
    /// The sink did not take all of a read; nothing more is read before it has.
    Owing(Vec<u8>, usize),
    /// The sink has all of it, and did not pass all of it on yet.
    Flushing,
    /// The source has ended, and the sink is being told.
    Closing,
    /// The sink was told.
    Ended,
}

impl State {
    /// What to do after `written` of `bytes` were taken.
    fn after(bytes: &[u8], written: usize) -> Self {
        match bytes.get(written..) {
            Some(rest) if !rest.is_empty() => Self::Owing(rest.to_vec(), 0),
            _ => Self::Flushing,
        }
    }
}

/// From the socket into TLS.
struct Up<'a> {
    state: State,
    moved: &'a mut u64,
}

impl Up<'_> {
    fn poll<S: AsyncWrite + Unpin>(
        &mut self,
        source: &TcpStream,
        sink: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Stop>> {
        for _ in 0..ROUNDS {
            let next = match &mut self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Moving => ready!(scratch::with(|buffer| {
                    let read = ready!(socket::poll_read(source, context, &mut buffer[..RECORD]));
                    let bytes = &buffer[..read.map_err(Stop::Source)?];
                    if bytes.is_empty() {
                        return Poll::Ready(Ok(State::Closing));
                    }
                    let written = match Pin::new(&mut *sink).poll_write(context, bytes) {
                        Poll::Ready(written) => written.map_err(Stop::Sink)?,
                        Poll::Pending => 0,
                    };
                    *self.moved += written as u64;
                    Poll::Ready(Ok(State::after(bytes, written)))
                }))?,
                State::Owing(rest, written) => {
                    let more = ready!(Pin::new(&mut *sink).poll_write(context, &rest[*written..]));
                    let more = more.map_err(Stop::Sink)?;
                    *written += more;
                    *self.moved += more as u64;
                    if *written < rest.len() { continue } else { State::Flushing }
                }
                State::Flushing => {
                    ready!(Pin::new(&mut *sink).poll_flush(context)).map_err(Stop::Sink)?;
                    State::Moving
                }
                State::Closing => {
                    ready!(Pin::new(&mut *sink).poll_shutdown(context)).map_err(Stop::Sink)?;
                    State::Ended
                }
            };
            self.state = next;
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// From TLS to the socket.
struct Down<'a> {
    state: State,
    moved: &'a mut u64,
    truncation: Truncation,
}

impl Down<'_> {
    fn poll<S: AsyncRead + Unpin>(
        &mut self,
        source: &mut S,
        sink: &TcpStream,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Stop>> {
        for _ in 0..ROUNDS {
            let next = match &mut self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Moving => ready!(CLEAR.with_borrow_mut(|buffer| {
                    let mut buffer = ReadBuf::new(buffer);
                    match ready!(Pin::new(&mut *source).poll_read(context, &mut buffer)) {
                        Ok(()) => {}
                        Err(error)
                            if error.kind() == io::ErrorKind::UnexpectedEof
                                && self.truncation == Truncation::End =>
                        {
                            return Poll::Ready(Ok(State::Closing));
                        }
                        Err(error) => return Poll::Ready(Err(Stop::Source(error))),
                    }
                    let bytes = buffer.filled();
                    if bytes.is_empty() {
                        return Poll::Ready(Ok(State::Closing));
                    }
                    let written = match socket::poll_write(sink, context, bytes) {
                        Poll::Ready(written) => written.map_err(Stop::Sink)?,
                        Poll::Pending => 0,
                    };
                    *self.moved += written as u64;
                    Poll::Ready(Ok(State::after(bytes, written)))
                }))?,
                State::Owing(rest, written) => {
                    let more = ready!(socket::poll_write(sink, context, &rest[*written..]));
                    let more = more.map_err(Stop::Sink)?;
                    *written += more;
                    *self.moved += more as u64;
                    if *written < rest.len() { continue } else { State::Moving }
                }
                State::Flushing => State::Moving,
                State::Closing => {
                    SockRef::from(sink).shutdown(Shutdown::Write).map_err(Stop::Sink)?;
                    State::Ended
                }
            };
            self.state = next;
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
