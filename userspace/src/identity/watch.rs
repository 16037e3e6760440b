//! Files that change while they are used, watched by their directories.
//!
//! Directories and not files, so that atomic swaps (`..data` of Kubernetes, rename) are seen; those of the files that
//! symbolic links lead to, too. A directory that is missing is waited for in the nearest one above it that is there.
//! Says only *that* something happened. Where the kernel refuses to watch, it says so from time to time instead.

mod directories;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::EventKind;
use notify::event::{AccessKind, AccessMode};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use directories::{Directories, Ear};

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
    /// None where there is nothing to watch, or the kernel gives no inotify instance.
    directories: Option<Arc<Directories>>,
    ear: Ear,
    watched: BTreeSet<Inode>,
    /// Whether everything is watched that should be.
    complete: bool,
    stirs: mpsc::Receiver<()>,
}

impl Watch {
    /// Starts to watch. Changes from here on are told.
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        let (ear, stirs) = Ear::new();
        let directories = if paths.is_empty() { None } else { open() };
        let mut watch = Self { paths, directories, ear, watched: BTreeSet::new(), complete: true, stirs };
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
                    wanted.insert(inode, directory);
                }
            }
        }
        let Some(directories) = &self.directories else {
            self.complete = self.paths.is_empty();
            return;
        };
        self.watched.retain(|inode| {
            let stays = wanted.contains_key(inode);
            if !stays {
                directories.forget(*inode, &self.ear);
            }
            stays
        });
        self.complete = true;
        for (inode, directory) in wanted {
            if self.watched.contains(&inode) {
                continue;
            }
            match directories.watch(&directory, inode, &self.ear) {
                Ok(()) => _ = self.watched.insert(inode),
                Err(error) => {
                    tracing::debug!(%error, directory = %directory.display(), "cannot watch a directory");
                    self.complete = false;
                }
            }
        }
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

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(directories) = &self.directories {
            for inode in &self.watched {
                directories.forget(*inode, &self.ear);
            }
        }
    }
}

/// What directories are watched by, if the kernel grants it.
fn open() -> Option<Arc<Directories>> {
    Directories::of_this_process()
        .inspect_err(|error| {
            tracing::warn!(
                %error,
                "cannot watch certificates, reading them every ten seconds instead; see fs.inotify.max_user_instances"
            );
        })
        .ok()
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
