//! Bodies on their way: counted, never collected.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use thiserror::Error;
use tokio::time::Sleep;

use super::failure;
use super::pool::Lent;
use super::replay::{Reader, Replay};
use super::telling::Telling;
use crate::model::{Direction, Fault, Flag};
use crate::proxy::connection::blame;
use crate::proxy::relay::End;

/// How long a client that asked for `100 Continue` is made to wait for the upstream's.
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);

/// A request's body.
pub(in crate::proxy) struct Upload {
    body: Option<Source>,
    count: Option<Arc<AtomicU64>>,
    /// Raised when all of it has been read.
    ended: Option<Arc<AtomicBool>>,
    gate: Option<(Arc<Gate>, Pin<Box<Sleep>>)>,
}

/// Where a request's body is read from.
enum Source {
    Client(Incoming),
    /// A body that may be read again.
    Kept(Reader),
    /// All of it, where it had to be read before.
    Whole(Option<Bytes>),
}

impl Source {
    fn is_over(&self) -> bool {
        match self {
            Self::Client(body) => body.is_end_stream(),
            Self::Kept(reader) => reader.is_over(),
            Self::Whole(bytes) => bytes.is_none(),
        }
    }
}

impl Upload {
    /// A body that is read again from its beginning, counted where it was, with what tells its end.
    pub(super) fn again(replay: &Arc<Replay>, count: Option<Arc<AtomicU64>>) -> (Self, Arc<AtomicBool>) {
        let ended = Arc::new(AtomicBool::new(false));
        let body = Some(Source::Kept(replay.reader()));
        (Self { body, count, ended: Some(Arc::clone(&ended)), gate: None }, ended)
    }

    /// Keeps what is read, so that it can be read again; nothing if there is no body.
    pub(super) fn keep(&mut self) -> Option<Arc<Replay>> {
        match self.body.take() {
            Some(Source::Client(body)) => {
                let replay = Replay::new(body);
                self.body = Some(Source::Kept(replay.reader()));
                Some(replay)
            }
            kept => {
                self.body = kept;
                None
            }
        }
    }

    /// Nothing.
    pub(super) const fn empty() -> Self {
        Self { body: None, count: None, ended: None, gate: None }
    }

    /// What was read before.
    pub(super) const fn whole(bytes: Bytes) -> Self {
        Self { body: Some(Source::Whole(Some(bytes))), count: None, ended: None, gate: None }
    }

    /// A body that is counted, with what counts it and what tells its end.
    pub(super) fn counted(body: Incoming) -> (Self, Arc<AtomicU64>, Arc<AtomicBool>) {
        let (count, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let upload = Self {
            body: Some(Source::Client(body)),
            count: Some(Arc::clone(&count)),
            ended: Some(Arc::clone(&ended)),
            gate: None,
        };
        (upload, count, ended)
    }

    /// Is not read before the gate opens.
    pub(super) fn behind(&mut self, gate: Arc<Gate>) {
        self.gate = Some((gate, Box::pin(tokio::time::sleep(CONTINUE_PATIENCE))));
    }
}

/// What keeps a body back until the upstream wants it.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<(Option<Pass>, Option<Waker>)>);

/// Whether a body may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// The upstream wants it, or did not say in time.
    Open,
    /// The upstream has answered without it.
    Shut,
}

impl Gate {
    /// Decides, unless it was decided before.
    pub(super) fn set(&self, pass: Pass) {
        let (decided, waiting) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        decided.get_or_insert(pass);
        if let Some(waker) = waiting.take() {
            waker.wake();
        }
    }

    /// Whether the body may have begun to pass.
    pub(super) fn was_opened(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 == Some(Pass::Open)
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Pass> {
        let (decided, waiting) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match decided {
            Some(pass) => Poll::Ready(*pass),
            None => {
                *waiting = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Why a request's body does not go on.
#[derive(Debug, Error)]
pub(in crate::proxy) enum Unsent {
    /// It did not come from the client.
    #[error("the client did not send the whole request")]
    Unread(#[source] hyper::Error),
    /// Another attempt reads on.
    #[error("the request is sent on another connection by now")]
    Elsewhere,
    /// The upstream has answered without it.
    #[error("the upstream has answered before it wanted the request's body")]
    Unwanted,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Unsent;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Unsent>>> {
        let this = &mut *self;
        if let Some((gate, patience)) = &mut this.gate {
            match gate.poll(context) {
                Poll::Ready(Pass::Open) => {}
                Poll::Ready(Pass::Shut) => return Poll::Ready(Some(Err(Unsent::Unwanted))),
                Poll::Pending if patience.as_mut().poll(context).is_ready() => gate.set(Pass::Open),
                Poll::Pending => return Poll::Pending,
            }
            this.gate = None;
        }
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let count = |bytes: usize| {
            if let Some(count) = &this.count {
                count.fetch_add(bytes as u64, Ordering::Relaxed);
            }
        };
        let frame = match body {
            Source::Client(body) => {
                let frame = ready!(Pin::new(body).poll_frame(context));
                if let Some(Ok(frame)) = &frame {
                    count(frame.data_ref().map_or(0, Bytes::len));
                }
                frame.map(|frame| frame.map_err(Unsent::Unread))
            }
            Source::Kept(reader) => ready!(reader.poll_frame(context, count)),
            Source::Whole(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
        };
        let over = match &frame {
            None => true,
            Some(Ok(_)) => this.body.as_ref().is_none_or(Source::is_over),
            Some(Err(_)) => false,
        };
        if over && let Some(ended) = &this.ended {
            ended.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Source::is_over)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            None => SizeHint::with_exact(0),
            Some(Source::Client(body)) => body.size_hint(),
            Some(Source::Kept(reader)) => reader.size_hint(),
            Some(Source::Whole(bytes)) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}

/// An answer's body, with all that ends when it does.
pub(in crate::proxy) struct Download {
    content: Content,
    telling: Option<Telling>,
    /// The connection that it comes from, which goes back to its pool when all has come.
    lent: Option<Lent>,
    /// What keeps the request's body back.
    gate: Option<Arc<Gate>>,
    direction: Direction,
}

enum Content {
    Upstream(Incoming),
    Own(Option<Bytes>),
}

impl Download {
    /// From the upstream.
    pub(super) fn upstream(
        body: Incoming,
        lent: Option<Lent>,
        telling: Telling,
        direction: Direction,
    ) -> Self {
        Self { content: Content::Upstream(body), telling: Some(telling), lent, gate: None, direction }
    }

    /// A text of our own, or nothing.
    pub(super) fn own(text: impl Into<Bytes>, telling: Option<Telling>) -> Self {
        let text = text.into();
        let content = Content::Own((!text.is_empty()).then_some(text));
        Self { content, telling, lent: None, gate: None, direction: Direction::Outbound }
    }

    /// Nobody wants the request's body any more when this has ended.
    pub(super) fn shuts(&mut self, gate: Arc<Gate>) {
        self.gate = Some(gate);
    }

    fn end(&mut self) {
        if let Some(mut telling) = self.telling.take() {
            telling.whole();
        }
        if let Some(lent) = self.lent.take() {
            lent.give_back();
        }
    }

    fn frame(&mut self, frame: &Frame<Bytes>) {
        let Some(telling) = &mut self.telling else { return };
        if let Some(data) = frame.data_ref() {
            telling.downloaded(data.len());
        } else if let Some(trailers) = frame.trailers_ref() {
            telling.trailers(trailers);
            // Nothing comes behind them (RFC 9112, section 7.1.2), and whoever reads them does not look.
            self.end();
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let frame = match &mut this.content {
            Content::Upstream(body) => ready!(Pin::new(body).poll_frame(context)),
            Content::Own(text) => text.take().map(|text| Ok(Frame::data(text))),
        };
        match &frame {
            Some(Ok(frame)) => this.frame(frame),
            Some(Err(error)) => {
                if let Some(telling) = &mut this.telling {
                    let side = blame(End::Upstream, this.direction);
                    telling.failed(
                        failure::flag(error),
                        Some(Fault::new(side, "read answer", failure::io(error))),
                    );
                }
                this.telling = None;
                this.lent = None;
            }
            None => this.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Upstream(body) => body.is_end_stream(),
            Content::Own(text) => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Upstream(body) => body.size_hint(),
            Content::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if let Some(gate) = &self.gate {
            gate.set(Pass::Shut);
        }
        // Whoever reads it stops at the last frame, and needs not be told that there is no other.
        if self.is_end_stream() {
            self.end();
        } else if let Some(telling) = &mut self.telling {
            let gone = std::io::Error::new(
                std::io::ErrorKind::BrokenPipe,
                "the client went away before the end of the answer",
            );
            telling.failed(
                Flag::DownstreamGone,
                Some(Fault::new(blame(End::Client, self.direction), "write answer", gone)),
            );
        }
    }
}
