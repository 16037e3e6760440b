//! The body of a request that may be sent more than once: read once from the client, and kept while it is short.
//!
//! Whoever reads it reads from the beginning; what nobody has read yet is read from the client when the first of them comes
//! to it. Once more has come than is kept, nobody can begin any more, and who began last reads on alone.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use http::HeaderMap;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::Notify;

use super::body::Unsent;

/// Bytes of a body that are kept.
pub(super) const KEPT: usize = 64 << 10;

/// A body, and what was kept of it.
pub(super) struct Replay {
    state: Mutex<State>,
    /// What was known of its length before any of it was read.
    hint: SizeHint,
    /// Told when it is, or when it will not be.
    decided: Notify,
}

struct State {
    body: Incoming,
    kept: Vec<Piece>,
    bytes: usize,
    stage: Stage,
    /// How many have begun to read; the last of them is the one that reads on from the client.
    readers: u32,
}

/// How far a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There may be more.
    Open,
    /// All of it is kept.
    Whole,
    /// Not all of it can be had again: too long, or broken.
    Lost,
}

#[derive(Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Piece {
    fn frame(&self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data.clone()),
            Self::Trailers(trailers) => Frame::trailers(trailers.clone()),
        }
    }
}

impl Replay {
    /// A body of which nothing was read yet.
    pub(super) fn new(body: Incoming) -> Arc<Self> {
        let hint = body.size_hint();
        let state = State { body, kept: Vec::new(), bytes: 0, stage: Stage::Open, readers: 0 };
        Arc::new(Self { state: Mutex::new(state), hint, decided: Notify::new() })
    }

    /// Reads it from its beginning.
    pub(super) fn reader(self: &Arc<Self>) -> Reader {
        let mut state = self.state();
        state.readers += 1;
        Reader { replay: Arc::clone(self), at: 0, number: state.readers }
    }

    /// Whether it can be read from its beginning.
    pub(super) fn is_kept(&self) -> bool {
        self.state().stage != Stage::Lost
    }

    /// Waits until all of it is kept; false if it will not be.
    pub(super) async fn whole(&self) -> bool {
        loop {
            let decided = self.decided.notified();
            match self.state().stage {
                Stage::Whole => return true,
                Stage::Lost => return false,
                Stage::Open => {}
            }
            decided.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn decide(&mut self, stage: Stage) {
        if self.stage == Stage::Open {
            self.stage = stage;
            if stage == Stage::Lost {
                self.kept.clear();
            }
        }
    }
}

/// One reading of a body.
pub(super) struct Reader {
    replay: Arc<Replay>,
    at: usize,
    number: u32,
}

impl Reader {
    /// What is known of the length of all of it.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.replay.hint
    }

    /// Whether there is nothing more to read.
    pub(super) fn is_over(&self) -> bool {
        let state = self.replay.state();
        match state.stage {
            Stage::Whole => self.at >= state.kept.len(),
            Stage::Open | Stage::Lost => false,
        }
    }

    /// Reads on; `fresh` is told how many bytes come from the client now.
    pub(super) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
        fresh: impl FnOnce(usize),
    ) -> Poll<Option<Result<Frame<Bytes>, Unsent>>> {
        let mut state = self.replay.state();
        if let Some(piece) = state.kept.get(self.at) {
            self.at += 1;
            return Poll::Ready(Some(Ok(piece.frame())));
        }
        if state.stage == Stage::Whole {
            return Poll::Ready(None);
        }
        if state.readers != self.number {
            return Poll::Ready(Some(Err(Unsent::Elsewhere)));
        }
        let frame = ready!(Pin::new(&mut state.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                fresh(bytes);
                state.bytes = state.bytes.saturating_add(bytes);
                if state.bytes > KEPT {
                    state.decide(Stage::Lost);
                } else if state.stage == Stage::Open {
                    let piece = match (frame.data_ref(), frame.trailers_ref()) {
                        (Some(data), _) => Piece::Data(data.clone()),
                        (None, trailers) => Piece::Trailers(trailers.cloned().unwrap_or_default()),
                    };
                    state.kept.push(piece);
                    self.at += 1;
                }
                if state.body.is_end_stream() {
                    state.decide(Stage::Whole);
                }
            }
            Some(Err(_)) => state.decide(Stage::Lost),
            None => {
                state.decide(Stage::Whole);
            }
        }
        if state.stage != Stage::Open {
            self.replay.decided.notify_waiters();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Unsent::Unread)))
    }
}
