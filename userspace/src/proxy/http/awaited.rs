//! An answer of HTTP/1 that is waited for: how long its head may take from its first byte, and what may come before it.
//!
//! It says nothing of how long an upstream may think before it answers.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, StatusCode};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use super::body::{Gate, Pass};

/// How many interim answers may come before the one that counts.
const INTERIM: u32 = 100;

/// Why an answer is not waited for any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Excess {
    /// There are too many before it.
    #[error("the upstream sent more than {INTERIM} interim answers")]
    Interim,
    /// Those before it have been coming for too long.
    #[error("the upstream's interim answers did not end within {0:?} (http.header-timeout)")]
    Interims(Duration),
    /// Its head does not come to its end.
    #[error("no whole head of an answer within {0:?} (http.header-timeout)")]
    Head(Duration),
}

/// What an upstream's connection says of the answer that is waited for. Its parts run on one worker: it is never contended.
#[derive(Debug, Default)]
pub(super) struct Awaited(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Whether a request was sent that is not answered.
    asked: bool,
    /// When the head began of which a part has come.
    head: Option<Instant>,
    /// Interim answers so far.
    interim: u32,
    /// When the first of them came that does not ask for patience.
    first: Option<Instant>,
    excess: Option<Excess>,
    waker: Option<Waker>,
}

impl Awaited {
    /// Notes that bytes came from the upstream.
    ///
    /// # Errors
    /// There were too many of them: nobody waits any more.
    pub(super) fn came(&self) -> io::Result<()> {
        let mut state = self.state();
        if let Some(excess) = state.excess {
            return Err(io::Error::new(io::ErrorKind::InvalidData, excess));
        }
        if state.asked && state.head.is_none() {
            state.head = Some(Instant::now());
            state.wake();
        }
        Ok(())
    }

    /// Sends a request with `send` and waits for its answer, whose head may take `patience`.
    ///
    /// # Errors
    /// There is no end to what comes before the end of its head.
    pub(super) async fn answer<B, F: Future>(
        self: &Arc<Self>,
        mut request: Request<B>,
        patience: Duration,
        send: impl FnOnce(Request<B>) -> F,
    ) -> Result<F::Output, Excess> {
        *self.state() = State { asked: true, ..State::default() };
        let (heard, gate) = (Arc::clone(self), request.extensions().get::<Arc<Gate>>().cloned());
        hyper::ext::on_informational(&mut request, move |answer| {
            heard.interim(answer.status(), patience, Instant::now());
            if answer.status() == StatusCode::CONTINUE
                && let Some(gate) = &gate
            {
                gate.set(Pass::Open);
            }
        });
        let mut sending = pin!(send(request));
        let mut timer = None;
        let answered = poll_fn(|context| {
            if let Some(excess) = self.state().excess {
                return Poll::Ready(Err(excess));
            }
            if let Poll::Ready(answered) = sending.as_mut().poll(context) {
                return Poll::Ready(Ok(answered));
            }
            let Some(begun) = self.head(context) else {
                timer = None;
                return Poll::Pending;
            };
            let timer = timer.get_or_insert_with(|| Box::pin(sleep(patience)));
            if timer.deadline() != begun + patience {
                timer.as_mut().reset(begun + patience);
            }
            timer.as_mut().poll(context).map(|()| Err(Excess::Head(patience)))
        })
        .await;
        self.state().asked = false;
        answered
    }

    /// Counts an interim answer.
    fn interim(&self, status: StatusCode, patience: Duration, now: Instant) {
        let mut state = self.state();
        state.head = None;
        state.interim += 1;
        // These two ask for nothing but patience (RFC 9110, section 15.2.1; RFC 2518, section 10.1).
        if !matches!(status, StatusCode::CONTINUE | StatusCode::PROCESSING) {
            let first = *state.first.get_or_insert(now);
            if now.saturating_duration_since(first) > patience {
                state.excess = Some(Excess::Interims(patience));
            }
        }
        if state.interim > INTERIM {
            state.excess = Some(Excess::Interim);
        }
        if state.excess.is_some() {
            state.wake();
        }
    }

    /// When the head began of which a part has come; if none has, `context` is woken when one does.
    fn head(&self, context: &Context<'_>) -> Option<Instant> {
        let mut state = self.state();
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        state.head
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Interim answers, each with when it comes, and what becomes of it.
    fn check(interim: impl IntoIterator<Item = (u16, u64)>) -> Option<Excess> {
        let (awaited, start) = (Awaited::default(), Instant::now());
        for (status, after) in interim {
            let status = StatusCode::from_u16(status).unwrap();
            awaited.interim(status, PATIENCE, start + Duration::from_secs(after));
        }
        awaited.state().excess
    }

    #[test]
    fn interim_answers_are_few_and_soon_over() {
        assert_eq!(check((0..100).map(|_| (103, 0))), None);
        assert_eq!(check((0..101).map(|_| (103, 0))), Some(Excess::Interim));
        assert_eq!(check((0..101).map(|at| (100, at))), Some(Excess::Interim));
        assert_eq!(check([(103, 0), (103, 10)]), None);
        assert_eq!(check([(103, 0), (103, 11)]), Some(Excess::Interims(PATIENCE)));
        assert_eq!(check([(100, 0), (102, 20), (102, 40), (103, 60), (102, 80)]), None);
    }

    #[tokio::test]
    async fn a_head_has_its_time_from_its_first_byte_and_an_upstream_may_think() {
        const PATIENCE: Duration = Duration::from_millis(100);
        let (awaited, within) = (Arc::new(Awaited::default()), Arc::new(Awaited::default()));
        let thinks = awaited.answer(Request::new(()), PATIENCE, |_| async {
            sleep(PATIENCE * 2).await;
            awaited.came().unwrap();
        });
        assert_eq!(thinks.await, Ok(()));
        let begun = Instant::now();
        let stops = within.answer(Request::new(()), PATIENCE, |_| async {
            sleep(PATIENCE).await;
            within.came().unwrap();
            std::future::pending::<()>().await;
        });
        assert_eq!(stops.await, Err(Excess::Head(PATIENCE)));
        assert!(begun.elapsed() >= PATIENCE * 2);
    }
}
