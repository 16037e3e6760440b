//! What the parts of one client's connection tell each other while it lives.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::heads::Violation;

/// Counts of one client's connection. All of its parts run on one worker: nothing here is ever contended.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Watch {
    /// Requests that began.
    requests: AtomicU64,
    /// Requests whose answer is not through.
    in_flight: AtomicU32,
    /// Bytes that came from the client.
    sent: AtomicU64,
    /// Bytes that went to the client.
    received: AtomicU64,
    /// Heads that began to arrive; the head of the last one is not whole while `within_head`.
    heads: AtomicU64,
    within_head: AtomicBool,
    /// Whether the head that has begun is not waited for any more.
    late: AtomicBool,
    violation: Mutex<Option<Violation>>,
    /// Whoever waits for the end of the last request.
    waiting: Mutex<Option<Waker>>,
}

impl Watch {
    pub(super) fn begin_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end_request(&self) {
        if self.in_flight.fetch_sub(1, Ordering::Relaxed) == 1
            && let Some(waker) = self.waiting().take()
        {
            waker.wake();
        }
    }

    /// Ready when no request is in flight.
    pub(super) fn poll_idle(&self, context: &Context<'_>) -> Poll<()> {
        if self.is_idle() {
            return Poll::Ready(());
        }
        *self.waiting() = Some(context.waker().clone());
        Poll::Pending
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0
    }

    pub(super) fn came(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn went(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes from the client, and to it.
    pub(super) fn traffic(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }

    /// Notes that `begun` heads have begun, the last of which is whole or not.
    pub(super) fn heads(&self, begun: u64, within: bool) {
        self.heads.store(begun, Ordering::Relaxed);
        self.within_head.store(within, Ordering::Relaxed);
    }

    /// The number of the head of which a part has arrived, if one has.
    pub(super) fn head_under_way(&self) -> Option<u64> {
        self.within_head.load(Ordering::Relaxed).then(|| self.heads.load(Ordering::Relaxed))
    }

    /// The head that has begun is not waited for any more.
    pub(super) fn give_up(&self) {
        self.late.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed)
    }

    /// Notes what the client sent that is no HTTP that may be forwarded.
    pub(super) fn violated(&self, violation: Violation) {
        *self.violation.lock().unwrap_or_else(PoisonError::into_inner) = Some(violation);
    }

    pub(super) fn violation(&self) -> Option<Violation> {
        *self.violation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
