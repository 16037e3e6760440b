//! What hyper wants to have run beside an HTTP/2 connection: tasks on the same worker that end with it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use hyper::rt::Executor;
use tokio::task::{AbortHandle, JoinSet};

tokio::task_local! {
    /// The task that is running, if it is one of these.
    static CURRENT: Task;
}

/// The tasks of one connection; dropped, they are aborted.
#[derive(Debug, Default)]
pub(super) struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    /// What hyper is given. It does not keep the tasks alive, of which some hold it themselves.
    pub(super) fn spawner(&self) -> Spawner {
        Spawner(Arc::downgrade(&self.0))
    }
}

/// One task, for whoever has to end it. Each answers one request: without it, the request's stream is reset.
#[derive(Clone, Debug, Default)]
pub(super) struct Task(Arc<OnceLock<AbortHandle>>);

impl Task {
    /// Ends it; whether that can be done.
    pub(super) fn abort(&self) -> bool {
        self.0.get().map(AbortHandle::abort).is_some()
    }
}

/// The task that this is called within, if it is one that [`Tasks`] runs.
pub(super) fn current() -> Option<Task> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Spawns tasks that belong to a connection, as long as it lives.
#[derive(Clone, Debug)]
pub(super) struct Spawner(Weak<Mutex<JoinSet<()>>>);

impl<F> Executor<F> for Spawner
where
    F: Future + Send + 'static,
{
    fn execute(&self, future: F) {
        let Some(tasks) = self.0.upgrade() else { return };
        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        let task = Task::default();
        let handle = tasks.spawn(CURRENT.scope(task.clone(), async move {
            let _done = future.await;
        }));
        let _once = task.0.set(handle);
    }
}
