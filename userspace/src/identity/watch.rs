//! Files that change while they are used, watched by their directories.
//!
//! Directories and not files, so that atomic swaps (`..data` of Kubernetes, rename) are seen; those of the files that
//! symbolic links lead to, too. A directory that is missing is waited for in the nearest one above it that is there.
//! Says only *that* something happened. Where the kernel refuses to watch, it says so from time to time instead.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

/// How long nothing must happen before the files are read.
const QUIET: Duration = Duration::from_millis(50);
/// How long a directory in which something happens all the time can put the reading off.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often files are read that cannot be watched.
const POLL: Duration = Duration::from_secs(10);

/// A directory is the same as long as this is.
type Inode = (u64, u64);

/// The directories in which something can happen to some files.
pub(super) struct Watch {
    paths: Vec<PathBuf>,
    /// None where the kernel gives no inotify instance.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, Inode>,
    /// Whether everything is watched that should be.
    complete: bool,
    stirs: mpsc::Receiver<()>,
}

impl Watch {
    /// Starts to watch. Changes from here on are told.
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        let (sender, stirs) = mpsc::channel(1);
        let on_event = move |event: notify::Result<Event>| {
            // Errors (an overflown queue) stir too. A full channel is a stir that is still to be answered.
            if !event.is_ok_and(|event| is_mere_reading(&event.kind)) {
                let _: Result<_, _> = sender.try_send(());
            }
        };
        let watcher = match notify::recommended_watcher(on_event) {
            Ok(watcher) => Some(watcher),
            Err(error) if paths.is_empty() => {
                tracing::debug!(%error, "no watcher, and nothing to watch");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "cannot watch certificates, reading them every ten seconds instead; see fs.inotify.max_user_instances");
                None
            }
        };
        let mut watch = Self { paths, watcher, watched: BTreeMap::new(), complete: true, stirs };
        watch.follow();
        watch
    }

    /// Looks anew where the links lead and which directories are there. To be called before the files are read.
    pub(super) fn follow(&mut self) {
        let mut wanted = BTreeMap::new();
        for path in &self.paths {
            let target = path.canonicalize().ok();
            for path in std::iter::once(path).chain(target.as_ref()) {
                if let Some((directory, inode)) = nearest_directory(path) {
                    wanted.insert(directory, inode);
                }
            }
        }
        let Some(watcher) = &mut self.watcher else {
            self.complete = self.paths.is_empty();
            return;
        };
        for (directory, inode) in &self.watched {
            if wanted.get(directory) != Some(inode) {
                // Fails for a directory that is gone, whose watch is gone with it.
                let _: notify::Result<()> = watcher.unwatch(directory);
            }
        }
        self.complete = true;
        for (directory, inode) in &wanted {
            if self.watched.get(directory) != Some(inode)
                && let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive)
            {
                tracing::debug!(%error, directory = %directory.display(), "cannot watch a directory");
                self.complete = false;
            }
        }
        self.watched = wanted;
    }

    /// Waits until something happens, or may have. Safe to drop and call again.
    pub(super) async fn stir(&mut self) {
        if self.complete {
            match self.stirs.recv().await {
                Some(()) => {}
                None => std::future::pending().await,
            }
        } else {
            tokio::select! {
                Some(()) = self.stirs.recv() => {}
                () = sleep(POLL) => {}
            }
        }
    }

    /// Waits until nothing happens any more, but not for ever.
    pub(super) async fn settle(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && matches!(timeout(QUIET, self.stirs.recv()).await, Ok(Some(()))) {}
    }
}

/// The directory of a path, or the nearest above it that is there.
fn nearest_directory(path: &Path) -> Option<(PathBuf, Inode)> {
    path.ancestors().skip(1).find_map(|directory| {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let metadata = directory.metadata().ok().filter(std::fs::Metadata::is_dir)?;
        Some((directory.to_owned(), (metadata.dev(), metadata.ino())))
    })
}

/// Whether an event tells nothing but that somebody, ourselves for one, read something.
const fn is_mere_reading(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        _ => false,
    }
}
