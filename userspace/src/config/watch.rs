//! A configuration file that changes while it is used.
//!
//! The directory is watched and not the file, so that editors that write anew and rename, and Kubernetes, which swaps
//! the symbolic link `..data`, are seen. What counts is content: only when the bytes differ from those seen last is
//! there something to yield. Applies nothing: the receiver decides what a new configuration means.
//!
//! A file that is written in place is read once it has been quiet for [`QUIET`]; a writer that pauses for longer in
//! the middle is better off with a rename. Replacing the *directory* ends the watching of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::{Config, ConfigError, parse_bytes, read};

/// How long nothing must happen in the directory before the file is read.
const QUIET: Duration = Duration::from_millis(100);
/// How long a directory in which something happens all the time can put the reading off.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a file may be missing before that is worth telling.
const ABSENCE: Duration = Duration::from_secs(1);

/// The changes of one file. Dropping it ends the watching.
#[derive(Debug)]
pub struct Watch {
    changes: mpsc::Receiver<Result<Config, ConfigError>>,
    task: AbortHandle,
}

impl Watch {
    /// The next change: a valid configuration, or why the file is not one (the one in use then stays the best known).
    ///
    /// After an error there is always another change when the file is good again, even if it then says what it said
    /// before. Safe to drop and call again. Never resolves while nothing changes.
    pub async fn next(&mut self) -> Result<Config, ConfigError> {
        match self.changes.recv().await {
            Some(change) => change,
            // Only a runtime that shuts down ends the task, and then nobody awaits anything for long.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads a configuration file and watches it from then on, with no gap between the two.
///
/// Must be called within a tokio runtime that has its timer enabled.
///
/// # Errors
///
/// The directory cannot be watched (a missing directory, or too many inotify instances or watches), or whatever
/// [`super::load`] says.
pub fn watch(path: &Path) -> Result<(Config, Watch), ConfigError> {
    let mut directories = Directories::new(path)?;
    directories.follow();
    let bytes = read(path)?;
    let config = parse_bytes(path, &bytes)?;
    let (sender, changes) = mpsc::channel(1);
    let watched = Watched { path: path.to_owned(), seen: Seen::Content(bytes), directories, sender };
    let task = tokio::spawn(watched.run()).abort_handle();
    Ok((config, Watch { changes, task }))
}

/// What was found when the file was last read.
#[derive(PartialEq, Eq)]
enum Seen {
    Content(Vec<u8>),
    /// The message that said why not.
    Unreadable(String),
}

/// The state of the task behind a [`Watch`].
struct Watched {
    path: PathBuf,
    seen: Seen,
    directories: Directories,
    sender: mpsc::Sender<Result<Config, ConfigError>>,
}

impl Watched {
    async fn run(mut self) {
        let mut absent_since: Option<Instant> = None;
        while self.directories.stir().await {
            self.directories.settle().await;
            self.directories.follow();
            let path = self.path.clone();
            let Ok(found) = tokio::task::spawn_blocking(move || read(&path)).await else { continue };
            let change = match found {
                // Whoever replaces a file may remove it first: it gets a moment to come back.
                Err(ConfigError::Unreadable { .. })
                    if absent_since.get_or_insert_with(Instant::now).elapsed() < ABSENCE
                        && self.directories.stir_within(ABSENCE).await =>
                {
                    continue;
                }
                Err(error) => {
                    let seen = Seen::Unreadable(error.to_string());
                    self.note(seen).then_some(Err(error))
                }
                Ok(bytes) => {
                    absent_since = None;
                    let parsed = parse_bytes(&self.path, &bytes);
                    self.note(Seen::Content(bytes)).then_some(parsed)
                }
            };
            if let Some(change) = change
                && self.sender.send(change).await.is_err()
            {
                return;
            }
        }
    }

    /// Remembers what was seen and says whether that is new.
    fn note(&mut self, seen: Seen) -> bool {
        let new = self.seen != seen;
        self.seen = seen;
        new
    }
}

/// The directories in which something can happen to the file: its own, and that of the file it is a link to.
struct Directories {
    path: PathBuf,
    watcher: RecommendedWatcher,
    /// Where the link led when it was last looked at.
    target: Option<PathBuf>,
    stirs: mpsc::Receiver<()>,
    /// A stir that was taken from the channel and not yet answered.
    pending: bool,
}

impl Directories {
    fn new(path: &Path) -> Result<Self, ConfigError> {
        let directory = parent(path);
        let (sender, stirs) = mpsc::channel(1);
        let unwatchable = |error: notify::Error| ConfigError::Unwatchable {
            directory: directory.clone(),
            message: format!(
                "{error}; see whether it is there, and fs.inotify.max_user_instances and max_user_watches"
            ),
        };
        let on_event = move |event: notify::Result<Event>| {
            // Errors (an overflown queue) stir too: it is better to look once too often. A full channel is a
            // stir that is still to be answered.
            if event.is_ok_and(|event| is_mere_reading(&event.kind)) {
                return;
            }
            let _: Result<_, _> = sender.try_send(());
        };
        let mut watcher = notify::recommended_watcher(on_event).map_err(unwatchable)?;
        watcher.watch(&directory, RecursiveMode::NonRecursive).map_err(unwatchable)?;
        Ok(Self { path: path.to_owned(), watcher, target: None, stirs, pending: false })
    }

    /// Watches the directory of the file that a link leads to, too, as far as that is possible.
    fn follow(&mut self) {
        let target = self.path.canonicalize().ok().map(|target| parent(&target));
        if target == self.target {
            return;
        }
        if let Some(old) = self.target.take() {
            // Fails for a directory that is gone, whose watch is gone with it.
            let _: notify::Result<()> = self.watcher.unwatch(&old);
        }
        let own = parent(&self.path);
        self.target = target.filter(|target| {
            let other = own.canonicalize().ok().as_ref() != Some(target);
            other && self.watcher.watch(target, RecursiveMode::NonRecursive).is_ok()
        });
    }

    /// Waits until something happens; false if nothing can any more.
    async fn stir(&mut self) -> bool {
        std::mem::take(&mut self.pending) || self.stirs.recv().await.is_some()
    }

    /// Whether something happens within that time; if so, the next [`Self::stir`] returns at once.
    async fn stir_within(&mut self, time: Duration) -> bool {
        self.pending = matches!(timeout(time, self.stirs.recv()).await, Ok(Some(())));
        self.pending
    }

    /// Waits until nothing happens any more, but not for ever.
    async fn settle(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && matches!(timeout(QUIET, self.stirs.recv()).await, Ok(Some(()))) {}
    }
}

/// Whether an event tells nothing but that somebody, ourselves for one, read something.
const fn is_mere_reading(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        _ => false,
    }
}

/// The directory that holds a file.
fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests;
