//! A configuration file that changes while it is used, and the files that it names.
//!
//! Directories are watched and not files, so that editors that write anew and rename, and Kubernetes, which swaps
//! the symbolic link `..data`, are seen. What counts is content: only when the bytes differ from those seen last is
//! there something to yield. Applies nothing: the receiver decides what a new configuration means.
//!
//! A file that is written in place is read once it has been quiet for [`QUIET`]; a writer that pauses for longer in
//! the middle is better off with a rename. Replacing a *directory* ends the watching of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::sources::Sources;
use super::{Config, ConfigError, load_from};
use crate::lasting::{Lasting, Panics};

/// How long nothing must happen in the directory before the file is read.
const QUIET: Duration = Duration::from_millis(100);
/// How long a directory in which something happens all the time can put the reading off.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a file may be missing before that is worth telling.
const ABSENCE: Duration = Duration::from_secs(1);

/// The changes of one configuration. Dropping it ends the watching.
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

/// Reads a configuration file, and watches it and the files that it names from then on, with no gap between the two.
///
/// Must be called within a tokio runtime that has its timer enabled.
///
/// # Errors
///
/// The directory cannot be watched (a missing directory, or too many inotify instances or watches), or whatever
/// [`super::load`] says.
pub fn watch(path: &Path) -> Result<(Config, Watch), ConfigError> {
    let mut watched =
        Watched { path: path.to_owned(), sources: Sources::default(), directories: Directories::new(path)? };
    watched.directories.follow([path]);
    let mut config = load_from(path, &mut watched.sources)?;
    if watched.directories.follow(watched.sources.paths()) {
        // What happened to these files before they were watched is found by reading them again.
        watched.sources = Sources::remembering(std::mem::take(&mut watched.sources.memory));
        config = load_from(path, &mut watched.sources)?;
    }
    let (sender, changes) = mpsc::channel(1);
    let task = tokio::spawn(watched.outlast(sender)).abort_handle();
    Ok((config, Watch { changes, task }))
}

/// The state of the task behind a [`Watch`].
struct Watched {
    path: PathBuf,
    /// What was found when the files were last read.
    sources: Sources,
    directories: Directories,
}

impl Watched {
    async fn outlast(mut self, sender: mpsc::Sender<Result<Config, ConfigError>>) {
        let mut lasting = Lasting::new(&Panics::of("configuration"));
        while lasting.attempt(self.run(&sender)).await.is_none() {
            // Whatever it was about is read again.
            self.directories.pending = true;
        }
    }

    async fn run(&mut self, sender: &mpsc::Sender<Result<Config, ConfigError>>) {
        let mut absent_since: Option<Instant> = None;
        while self.directories.stir().await {
            self.directories.settle().await;
            self.directories.follow(self.sources.paths());
            if self.stand().await {
                absent_since = None;
                continue;
            }
            let (path, memory) = (self.path.clone(), std::mem::take(&mut self.sources.memory));
            let reading = tokio::task::spawn_blocking(move || {
                let mut sources = Sources::remembering(memory);
                (load_from(&path, &mut sources), sources)
            });
            let Ok((found, sources)) = reading.await else { continue };
            if self.directories.follow(sources.paths().chain(self.sources.paths())) {
                // What happened to these files before they were watched is found by reading them again.
                self.directories.pending = true;
            }
            match &found {
                // Whoever replaces a file may remove it first: it gets a moment to come back.
                Err(ConfigError::Unreadable { .. })
                    if absent_since.get_or_insert_with(Instant::now).elapsed() < ABSENCE
                        && self.directories.stir_within(ABSENCE).await =>
                {
                    continue;
                }
                Err(ConfigError::Unreadable { .. }) => {}
                Ok(_) | Err(_) => absent_since = None,
            }
            if !self.note(found.is_ok(), sources) {
                continue;
            }
            if sender.send(found).await.is_err() {
                return;
            }
        }
    }

    /// Whether all files still say what they said: others' files in their directories are seen too, and parsing is far more
    /// than reading.
    async fn stand(&mut self) -> bool {
        let sources = std::mem::take(&mut self.sources);
        let looking = tokio::task::spawn_blocking(move || (sources.stand(), sources));
        let Ok((stand, sources)) = looking.await else { return false };
        self.sources = sources;
        stand
    }

    /// Remembers what was seen and says whether that is new.
    fn note(&mut self, whole: bool, mut sources: Sources) -> bool {
        if !whole {
            // Reading ended early: what was not looked at is still what it was, and still to be watched.
            sources.fill_up(&self.sources);
        } else {
            sources.memory.settle();
        }
        let new = !self.sources.are_as(&sources);
        self.sources = sources;
        new
    }
}

/// The directories in which something can happen to the files: their own, and those of the files they are links to.
struct Directories {
    watcher: RecommendedWatcher,
    /// Without links in them, so that none is there twice.
    watched: BTreeSet<PathBuf>,
    stirs: mpsc::Receiver<()>,
    /// A stir that was taken from the channel and not yet answered.
    pending: bool,
}

impl Directories {
    /// Watches the directory of one file, which must be there.
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
        let resolved = directory.canonicalize().unwrap_or_else(|_| directory.clone());
        watcher.watch(&resolved, RecursiveMode::NonRecursive).map_err(unwatchable)?;
        Ok(Self { watcher, watched: BTreeSet::from([resolved]), stirs, pending: false })
    }

    /// Watches these directories, those of these files, and no others, as far as that is possible; says whether one is new.
    fn follow<'a>(&mut self, paths: impl IntoIterator<Item = &'a Path>) -> bool {
        let places = |path: &Path| {
            let own = path.canonicalize().ok().map(|it| if it.is_dir() { it } else { parent(&it) });
            [parent(path).canonicalize().ok(), own]
        };
        let wanted: BTreeSet<PathBuf> = paths.into_iter().flat_map(places).flatten().collect();
        for gone in self.watched.difference(&wanted) {
            // Fails for a directory that is gone, whose watch is gone with it.
            let _: notify::Result<()> = self.watcher.unwatch(gone);
        }
        let mut kept: BTreeSet<PathBuf> = self.watched.intersection(&wanted).cloned().collect();
        let before = kept.len();
        for new in wanted.difference(&self.watched) {
            if self.watcher.watch(new, RecursiveMode::NonRecursive).is_ok() {
                kept.insert(new.clone());
            }
        }
        self.watched = kept;
        self.watched.len() > before
    }

    /// Waits until something happens; false if nothing can any more.
    async fn stir(&mut self) -> bool {
        std::mem::take(&mut self.pending) || self.stirs.recv().await.is_some()
    }

    /// Whether something happens within that time; if so, the next [`Self::stir`] returns at once.
    async fn stir_within(&mut self, time: Duration) -> bool {
        self.pending = self.pending || matches!(timeout(time, self.stirs.recv()).await, Ok(Some(())));
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
