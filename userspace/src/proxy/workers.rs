//! The threads that connections live on, each with a runtime of its own.
//!
//! A connection stays on one worker from its dial to its end, so that none of its messages crosses threads: one thread
//! that waits costs one wake-up per message, while the workers of a shared runtime also wake and park each other, which is
//! a context switch each time they sit on one core. All connections are accepted on the first worker and mostly stay there;
//! one goes to another when that serves fewer and there is a second core to run it on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::http::pool::Pool;
use crate::sys::cores;

/// The threads. Dropped, they end, and what still runs on them is dropped too, which resets its connections.
#[derive(Debug)]
pub struct Threads(Vec<Thread>);

impl Threads {
    /// Starts `count` threads, or one if that is 0.
    ///
    /// # Errors
    /// No thread or no epoll instance can be had.
    pub fn start(count: usize) -> io::Result<Self> {
        (0..count.max(1)).map(Thread::start).collect::<io::Result<_>>().map(Self)
    }

    /// The workers that they run.
    #[must_use]
    pub fn workers(&self) -> Workers {
        let mut workers = self.0.iter().map(|thread| Worker::of(thread.runtime.clone()));
        // There is always a first one.
        let home = workers.next().unwrap_or_else(|| Worker::of(Handle::current()));
        Workers { home, others: workers.collect() }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // All are told before any is waited for.
        for thread in &mut self.0 {
            thread.stop.take();
        }
        for thread in &mut self.0 {
            // An error is a panic of the runtime, which was reported when it happened.
            let _ended = thread.handle.take().map(JoinHandle::join);
        }
    }
}

/// A thread that runs a worker until `stop` is dropped.
#[derive(Debug)]
struct Thread {
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name(format!("relay-{number}")).spawn(move || {
            // Nothing is ever sent.
            let _dropped = runtime.block_on(stopped);
        })?;
        Ok(Self { runtime: handle, stop: Some(stop), handle: Some(thread) })
    }
}

/// Where the connections of an instance may live.
#[derive(Debug)]
pub struct Workers {
    home: Arc<Worker>,
    others: Vec<Arc<Worker>>,
}

impl Workers {
    /// The runtime that this is called within, of either flavour, and no other.
    #[must_use]
    pub fn here() -> Self {
        Self { home: Worker::of(Handle::current()), others: Vec::new() }
    }

    /// The runtime that accepts.
    pub(super) fn home(&self) -> &Handle {
        &self.home.runtime
    }

    /// Ends all connections to upstreams that wait for requests, and keeps none from now on.
    pub(super) fn close_pools(&self) {
        self.home.pool.close();
        for worker in &self.others {
            worker.pool.close();
        }
    }

    /// Where the next connection goes.
    pub(super) fn seat(&self) -> Seat {
        let idlest = self.others.iter().min_by_key(|worker| worker.load());
        let worker = match idlest {
            Some(other) if other.load() < self.home.load() && cores::are_several() => other,
            _ => &self.home,
        };
        worker.load.fetch_add(1, Ordering::Relaxed);
        Seat(Arc::clone(worker))
    }
}

/// One runtime and how many connections count for it.
#[derive(Debug)]
struct Worker {
    runtime: Handle,
    load: AtomicUsize,
    /// Connections to upstreams that live here and wait for requests.
    pool: Arc<Pool>,
}

impl Worker {
    fn of(runtime: Handle) -> Arc<Self> {
        Arc::new(Self { runtime, load: AtomicUsize::new(0), pool: Arc::default() })
    }

    fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }
}

/// A connection's place on a worker. It counts for the worker until it is dropped.
#[derive(Debug)]
pub(super) struct Seat(Arc<Worker>);

impl Seat {
    /// The runtime of the worker.
    pub(super) fn runtime(&self) -> &Handle {
        &self.0.runtime
    }

    /// The worker's connections to upstreams.
    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.0.pool
    }

    /// Another place on the same worker.
    pub(super) fn another(&self) -> Self {
        self.0.load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }

    /// Whether both are on the same worker.
    pub(super) fn shares_worker(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A task on another worker that ends with whoever waits for it.
pub(super) struct Elsewhere(tokio::task::JoinHandle<()>);

impl Elsewhere {
    pub(super) fn spawn(runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(runtime.spawn(task))
    }

    pub(super) async fn ended(mut self) {
        // An error is a panic, which was reported where it happened, or the end of the worker.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_connection_stays_at_home_and_many_are_shared_out() {
        let threads = Threads::start(2).unwrap();
        let workers = threads.workers();
        let at_home = |seat: &Seat| Arc::ptr_eq(&seat.0, &workers.home);
        for _ in 0..3 {
            assert!(at_home(&workers.seat()), "the one before is over");
        }
        let seats: Vec<_> = (0..8).map(|_| workers.seat()).collect();
        let expected = if cores::are_several() { 4 } else { 8 };
        assert_eq!(seats.iter().filter(|seat| at_home(seat)).count(), expected);
        drop(seats);
        assert_eq!((workers.home.load(), workers.others[0].load()), (0, 0));
    }

    #[test]
    fn what_runs_on_a_worker_is_dropped_with_it() {
        let threads = Threads::start(1).unwrap();
        let (held, mut dropped) = oneshot::channel::<()>();
        threads.workers().home().spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(threads);
        assert_eq!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
