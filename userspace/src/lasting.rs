//! Tasks that outlast a panic: it is counted and told, and after a pause they begin again.
//!
//! Whatever a task keeps from one beginning to the next is its own to keep in order; this room knows only that it broke.
//! Work that is done once needs none of this: whoever waits for it is told.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;

/// First pause after a panic; doubled each time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
/// Longest such pause, and how long a task has to have gone on for the next pause to be the shortest again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Panics of this process since [`count_all`], whoever's they were.
static ALL: AtomicU64 = AtomicU64::new(0);

/// Counts every panic of this process from now on, before whatever else is done about it.
pub fn count_all() {
    let next = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        ALL.fetch_add(1, Ordering::Relaxed);
        next(panic);
    }));
}

/// How many there were.
#[must_use]
pub fn all() -> u64 {
    ALL.load(Ordering::Relaxed)
}

/// How often tasks of one kind broke.
#[derive(Debug)]
pub struct Panics {
    task: &'static str,
    count: AtomicU64,
}

impl Panics {
    /// None so far, of tasks that are called `task` in logs and metrics.
    #[must_use]
    pub fn of(task: &'static str) -> Arc<Self> {
        Arc::new(Self { task, count: AtomicU64::new(0) })
    }

    /// What the tasks are called.
    #[must_use]
    pub const fn task(&self) -> &'static str {
        self.task
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// There was one more.
    pub fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

/// One task that is begun again whenever it breaks.
#[derive(Debug)]
pub struct Lasting {
    panics: Arc<Panics>,
    pause: Duration,
}

impl Lasting {
    /// One that has not begun yet.
    #[must_use]
    pub fn new(panics: &Arc<Panics>) -> Self {
        Self { panics: Arc::clone(panics), pause: SHORTEST_PAUSE }
    }

    /// What comes of `work`; nothing if it broke, and then not before it is time to try again.
    pub async fn attempt<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let begun = Instant::now();
        match AssertUnwindSafe(work).catch_unwind().await {
            Ok(done) => Some(done),
            Err(panic) => {
                tokio::time::sleep(self.broke(&*panic, begun)).await;
                None
            }
        }
    }

    /// [`Self::attempt`] for work that has a thread of its own.
    pub fn attempt_here<T>(&mut self, work: impl FnOnce() -> T) -> Option<T> {
        let begun = Instant::now();
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(done) => Some(done),
            Err(panic) => {
                std::thread::sleep(self.broke(&*panic, begun));
                None
            }
        }
    }

    /// Counts and tells it; how long to pause.
    fn broke(&mut self, panic: &(dyn Any + Send), begun: Instant) -> Duration {
        self.panics.add();
        if begun.elapsed() >= LONGEST_PAUSE {
            self.pause = SHORTEST_PAUSE;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        let (task, pause_ms) = (self.panics.task, pause.as_millis());
        tracing::error!(task, panic = said(panic), pause_ms, "a task panicked; it begins again");
        pause
    }
}

/// What a panic says.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("nothing that can be shown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_breaks_is_counted_and_tried_again() {
        let panics = Panics::of("counting");
        let (mut lasting, mut left) = (Lasting::new(&panics), 3);
        loop {
            let work = async {
                if left > 0 {
                    left -= 1;
                    panic!("{left} left");
                }
                "done"
            };
            if let Some(done) = lasting.attempt(work).await {
                assert_eq!(done, "done");
                break;
            }
        }
        assert_eq!((panics.task(), panics.count()), ("counting", 3));
    }

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew_after_a_while() {
        let mut lasting = Lasting::new(&Panics::of("pausing"));
        let pauses: Vec<_> = (0..10).map(|_| lasting.broke(&"no", Instant::now()).as_millis()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        let a_while_ago =
            Instant::now().checked_sub(LONGEST_PAUSE).expect("a machine that runs for a second");
        assert_eq!(lasting.broke(&"no", a_while_ago), SHORTEST_PAUSE);
    }

    #[test]
    fn work_on_a_thread_of_its_own_is_tried_again_too() {
        let panics = Panics::of("writing");
        let mut lasting = Lasting::new(&panics);
        assert_eq!(lasting.attempt_here(|| -> u8 { panic!("no") }), None);
        assert_eq!(lasting.attempt_here(|| 7), Some(7));
        assert_eq!(panics.count(), 1);
    }
}
