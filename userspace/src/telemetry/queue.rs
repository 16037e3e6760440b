//! What stands between the threads that end connections and the one that writes about them: bounded, never waiting
//! at the front, and taken as a whole at the back.
//!
//! Not a channel, because the writer wants all that has gathered at once, because a writer that is busy must not
//! cost the relay a wake-up per line, and because a bounded channel of this size would hold its memory from the
//! beginning.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::shares::{Amount, Owner, Shares};

/// A bounded queue with room for requests beside its items.
#[derive(Debug)]
pub(super) struct Queue<T> {
    room: Amount,
    state: Mutex<State<T>>,
    /// Something for the writer.
    filled: Condvar,
    /// Something was written.
    written: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    /// Whose they are.
    shares: Shares,
    /// Bytes of what is being written.
    written_bytes: usize,
    /// Items ever accepted, and ever written.
    accepted: u64,
    written: u64,
    reopen: bool,
    closed: bool,
    waiting: Waiting,
}

/// What the writer is doing.
#[derive(Debug, PartialEq, Eq)]
enum Waiting {
    /// Asleep until it is woken.
    Asleep,
    /// Busy, or about to look again by itself.
    Awake,
}

/// What the writer is to do next.
#[derive(Debug)]
pub(super) struct Batch<T> {
    /// To be written, in order.
    pub(super) items: VecDeque<T>,
    /// Whether the file is to be opened anew first.
    pub(super) reopen: bool,
    /// Whether nothing comes after this.
    pub(super) last: bool,
}

impl<T> Queue<T> {
    /// A queue for that many items of so many bytes together, of whom one owner gets no more than half.
    pub(super) fn new(room: Amount) -> Self {
        let state = State {
            items: VecDeque::new(),
            shares: Shares::default(),
            written_bytes: 0,
            accepted: 0,
            written: 0,
            reopen: false,
            closed: false,
            waiting: Waiting::Awake,
        };
        Self { room, state: Mutex::new(state), filled: Condvar::new(), written: Condvar::new() }
    }

    /// Gives `item`, which has so many `bytes`, back if its owner has no room left or the queue is closed.
    pub(super) fn push(&self, item: T, owner: Owner, bytes: usize) -> Result<(), T> {
        let mut state = self.lock();
        let room = Amount { bytes: self.room.bytes.saturating_sub(state.written_bytes), ..self.room };
        if state.closed || !state.shares.take(room, owner, bytes) {
            return Err(item);
        }
        state.items.push_back(item);
        state.accepted += 1;
        self.wake(state);
        Ok(())
    }

    /// Asks for the file to be opened anew, before anything that is pushed later is written.
    pub(super) fn request_reopen(&self) {
        let mut state = self.lock();
        state.reopen = true;
        self.wake(state);
    }

    /// Takes nothing more; what is there will still be written.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        drop(state);
        self.filled.notify_all();
    }

    /// Waits until all that was accepted before this call is written, at most for `patience`. Whether it was.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        let goal = state.accepted;
        // The writer may be pausing between batches, which a notification ends.
        self.filled.notify_all();
        while state.written < goal {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            state = self.written.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Waits for something to do.
    pub(super) fn next(&self) -> Batch<T> {
        let mut state = self.lock();
        while state.items.is_empty() && !state.reopen && !state.closed {
            state.waiting = Waiting::Asleep;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting = Waiting::Awake;
        state.written_bytes = std::mem::take(&mut state.shares).taken().bytes;
        Batch {
            items: std::mem::take(&mut state.items),
            reopen: std::mem::take(&mut state.reopen),
            last: state.closed,
        }
    }

    /// Tells that `count` items were dealt with, then pauses for at most `pause` while more gather.
    pub(super) fn done(&self, count: usize, pause: Duration) {
        let mut state = self.lock();
        state.written += count as u64;
        state.written_bytes = 0;
        self.written.notify_all();
        if !state.closed {
            // Only a flush or a close ends it early: `Awake` keeps pushes from waking anybody.
            drop(self.filled.wait_timeout(state, pause));
        }
    }

    fn wake(&self, state: MutexGuard<'_, State<T>>) {
        let asleep = state.waiting == Waiting::Asleep;
        drop(state);
        if asleep {
            self.filled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner(1);

    /// One in which one owner has room for so many items of so many bytes.
    fn queue(items: usize, bytes: usize) -> Queue<u8> {
        Queue::new(Amount { items: 2 * items, bytes: 2 * bytes })
    }

    #[test]
    fn what_does_not_fit_is_given_back_and_another_still_has_room() {
        let queue = queue(2, 100);
        let push = |item| queue.push(item, OWNER, 1);
        assert_eq!((push(1), push(2), push(3)), (Ok(()), Ok(()), Err(3)));
        assert_eq!(queue.push(4, Owner(2), 1), Ok(()));
        let batch = queue.next();
        assert_eq!(batch.items, [1, 2, 4]);
        assert_eq!(push(5), Ok(()));
    }

    #[test]
    fn items_have_room_for_so_many_bytes_until_they_are_written() {
        let queue = queue(8, 100);
        let push = |item, bytes| queue.push(item, OWNER, bytes);
        assert_eq!((push(1, 60), push(2, 60), push(3, 40)), (Ok(()), Err(2), Ok(())));
        let batch = queue.next();
        assert_eq!(push(4, 60), Err(4), "they are still there");
        queue.done(batch.items.len(), Duration::ZERO);
        assert_eq!(push(4, 100), Ok(()));
    }

    #[test]
    fn a_closed_queue_still_gives_what_it_has_and_says_that_it_is_the_last() {
        let queue = queue(2, 100);
        queue.push(1, OWNER, 1).unwrap();
        queue.close();
        assert_eq!(queue.push(2, OWNER, 1), Err(2));
        let batch = queue.next();
        assert!(batch.last);
        assert_eq!(batch.items, [1]);
    }

    #[test]
    fn a_flush_waits_for_what_was_pushed_before_it() {
        let queue = queue(8, 100);
        assert!(queue.flush(Duration::ZERO), "nothing to wait for");
        queue.push(1, OWNER, 1).unwrap();
        assert!(!queue.flush(Duration::from_millis(10)), "nobody writes");
        std::thread::scope(|scope| {
            let flushed = scope.spawn(|| queue.flush(Duration::from_secs(20)));
            let batch = queue.next();
            queue.done(batch.items.len(), Duration::ZERO);
            assert!(flushed.join().unwrap());
        });
    }

    #[test]
    fn a_pause_ends_when_somebody_flushes() {
        let queue = queue(8, 100);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                loop {
                    let batch = queue.next();
                    queue.done(batch.items.len(), Duration::from_secs(3600));
                    if batch.last {
                        break;
                    }
                }
            });
            for item in 0..100_u8 {
                queue.push(item, OWNER, 1).unwrap();
                assert!(queue.flush(Duration::from_secs(20)));
            }
            queue.close();
        });
    }
}
