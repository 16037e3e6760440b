//! A task that follows changes from outside and carries each to its end: it is told to stop, never cut off half way.

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The task, and the way to end it.
pub(super) struct Follower {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Starts a task. It has to end soon after what it is given resolves.
    pub(super) fn spawn<F>(task: impl FnOnce(oneshot::Receiver<()>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(task(stopped)) }
    }

    /// Returns when the change being carried out, if there is one, is through, and there will be no other.
    pub(super) async fn end(self) {
        drop(self.stop);
        // An error is a panic of the task, which was reported when it happened.
        let _ended = self.task.await;
    }
}
