//! Keeps the plugin where it was put, whatever other agents of the node do to their files.

use std::path::PathBuf;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};

use super::{Changed, Install, InstallError, Installed, Manner};

/// How long nothing must happen before the files are looked at: others write theirs in several steps.
const QUIET: Duration = Duration::from_millis(20);
/// How long those who write all the time can put that off.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often the files are looked at when nothing is heard of them.
const POLL: Duration = Duration::from_secs(10);
/// How soon something that failed is tried again, the first time and at most.
const RETRY: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];
/// How long peace has to last before a repair is the first one again.
const PEACE: Duration = Duration::from_secs(60);

/// How the plugin stands on the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing has been tried yet.
    #[default]
    Starting,
    /// It is in the network's chain.
    In(PathBuf),
    /// There is no network yet.
    NoNetwork,
    /// It cannot be put there; it is tried again.
    Failed(String),
}

impl State {
    /// Whether new pods get to us.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        matches!(self, Self::In(_))
    }
}

/// A task that keeps it there. Dropping this ends the keeping and removes nothing.
#[derive(Debug)]
pub struct Keeping {
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

impl Keeping {
    pub(super) fn start(install: Install) -> Self {
        let (sender, state) = watch::channel(State::default());
        Self { state, task: tokio::spawn(keep(install, sender)) }
    }

    /// How it stands, and tells of changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(install: Install, state: watch::Sender<State>) {
    let (sender, mut stirs) = mpsc::channel(1);
    let mut watcher = watcher(sender);
    let mut manner = Manner::Claim;
    let mut pause = RETRY[0];
    let mut repaired: Option<Instant> = None;
    loop {
        // Directories may come later than we do, and go and come again.
        for directory in [&install.conf_dir, &install.bin_dir] {
            if let Some(watcher) = &mut watcher {
                let _: notify::Result<()> = watcher.watch(directory, RecursiveMode::NonRecursive);
            }
        }
        let outcome = put(install.clone(), manner).await;
        let failed = outcome.is_err();
        let changed = matches!(outcome, Ok((_, Changed::Yes)));
        if !failed {
            if changed && manner == Manner::Repair {
                tracing::warn!(directory = %install.conf_dir.display(), "put the CNI plugin back: somebody had changed the node's networks");
            }
            manner = Manner::Repair;
        }
        tell(&state, outcome.map(|(installed, _)| installed));
        // Those who undo every repair are not answered in a busy loop.
        let calm = repaired.is_none_or(|repaired| repaired.elapsed() > PEACE);
        if failed || (changed && !calm) {
            sleep(pause).await;
            pause = (pause * 2).min(RETRY[1]);
        } else if calm {
            pause = RETRY[0];
        }
        if changed {
            repaired = Some(Instant::now());
        }
        if !failed && timeout(POLL, stirs.recv()).await.is_ok() {
            settle(&mut stirs).await;
        }
    }
}

/// Waits until nothing happens any more, but not for ever.
async fn settle(stirs: &mut mpsc::Receiver<()>) {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && matches!(timeout(QUIET, stirs.recv()).await, Ok(Some(()))) {}
}

async fn put(install: Install, manner: Manner) -> Result<(Installed, Changed), String> {
    match spawn_blocking(move || install.put(manner)).await {
        Ok(outcome) => outcome.map_err(|error: InstallError| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Says once what is new.
fn tell(state: &watch::Sender<State>, outcome: Result<Installed, String>) {
    let now = match outcome {
        Ok(Installed::In(path)) => State::In(path),
        Ok(Installed::NoNetwork) => State::NoNetwork,
        Err(error) => State::Failed(error),
    };
    state.send_if_modified(|before| {
        if *before == now {
            return false;
        }
        match &now {
            State::In(network) => tracing::info!(network = %network.display(), "the CNI plugin is in place"),
            State::NoNetwork => tracing::warn!("no network yet on this node to put the CNI plugin into"),
            State::Failed(error) => tracing::error!(%error, "cannot put the CNI plugin in place"),
            State::Starting => {}
        }
        *before = now;
        true
    });
}

/// None where the kernel gives no inotify instance; then the files are looked at from time to time.
fn watcher(stirs: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let on_event = move |event: notify::Result<Event>| {
        // Reading is no change. A full channel is a stir that is still to be answered.
        if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
            let _: Result<_, _> = stirs.try_send(());
        }
    };
    let made = notify::recommended_watcher(on_event);
    made.inspect_err(
        |error| tracing::warn!(%error, "cannot watch the node's networks, looking at them every ten seconds"),
    )
    .ok()
}
