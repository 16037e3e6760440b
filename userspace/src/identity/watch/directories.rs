//! The directories that are watched in this process, whoever watches them: one inotify instance and one thread serve hundreds of
//! workloads (the kernel grants a user 128 instances, `fs.inotify.max_user_instances`).
//!
//! A directory is known by its inode, since the kernel knows it by that however many paths lead there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::{Inode, is_mere_reading};

/// Those of this process, as long as anybody watches.
static OF_THIS_PROCESS: Mutex<Weak<Directories>> = Mutex::new(Weak::new());

/// Who wants to hear that something happened.
#[derive(Clone, Debug)]
pub(super) struct Ear {
    sender: mpsc::Sender<()>,
}

impl Ear {
    /// A full channel is a stir that is still to be answered, so that there is room for one.
    pub(super) fn new() -> (Self, mpsc::Receiver<()>) {
        let (sender, receiver) = mpsc::channel(1);
        (Self { sender }, receiver)
    }

    fn stir(&self) {
        let _full: Result<_, _> = self.sender.try_send(());
    }

    fn is(&self, other: &Self) -> bool {
        self.sender.same_channel(&other.sender)
    }
}

/// The one inotify instance.
pub(super) struct Directories {
    watcher: Mutex<RecommendedWatcher>,
    watched: Arc<Mutex<Watched>>,
}

/// What is watched, and for whom. Never locked while the watcher is asked for something: its thread takes this lock.
type Watched = BTreeMap<Inode, (PathBuf, Vec<Ear>)>;

impl Directories {
    /// Those of this process.
    ///
    /// # Errors
    /// If the kernel gives no inotify instance.
    pub(super) fn of_this_process() -> notify::Result<Arc<Self>> {
        let mut current = OF_THIS_PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(directories) = current.upgrade() {
            return Ok(directories);
        }
        let watched: Arc<Mutex<Watched>> = Arc::default();
        let told = Arc::clone(&watched);
        let watcher = notify::recommended_watcher(move |event| tell(&lock(&told), &event))?;
        let directories = Arc::new(Self { watcher: Mutex::new(watcher), watched });
        *current = Arc::downgrade(&directories);
        Ok(directories)
    }

    /// Tells `ear` of what happens in a directory from here on.
    ///
    /// # Errors
    /// If the kernel refuses to watch it.
    pub(super) fn watch(&self, path: &Path, inode: Inode, ear: &Ear) -> notify::Result<()> {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut watched = lock(&self.watched);
            if let Some((_, ears)) = watched.get_mut(&inode) {
                ears.push(ear.clone());
                return Ok(());
            }
            watched.insert(inode, (path.to_owned(), vec![ear.clone()]));
        }
        // Another directory may have been there, and be gone.
        let _not_watched: notify::Result<()> = watcher.unwatch(path);
        watcher.watch(path, RecursiveMode::NonRecursive).inspect_err(|_| {
            lock(&self.watched).remove(&inode);
        })
    }

    /// Tells it no more.
    pub(super) fn forget(&self, inode: Inode, ear: &Ear) {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        let unused = {
            let mut watched = lock(&self.watched);
            let Some((path, ears)) = watched.get_mut(&inode) else { return };
            ears.retain(|other| !other.is(ear));
            if !ears.is_empty() {
                return;
            }
            let path = path.clone();
            watched.remove(&inode);
            let used = watched.values().any(|(other, _)| *other == path);
            (!used).then_some(path)
        };
        if let Some(path) = unused {
            // Fails for a directory that is gone, whose watch is gone with it.
            let _: notify::Result<()> = watcher.unwatch(&path);
        }
    }
}

fn lock(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stirs those who watch the directories of an event; everybody if it says none, and of errors (an overflown queue).
fn tell(watched: &Watched, event: &notify::Result<Event>) {
    let paths = match event {
        Ok(event) if is_mere_reading(&event.kind) => return,
        Ok(event) if !event.need_rescan() => event.paths.as_slice(),
        _ => &[],
    };
    let meant = |directory: &Path| {
        paths.is_empty() || paths.iter().any(|path| path == directory || path.parent() == Some(directory))
    };
    for (_, ears) in watched.values().filter(|(directory, _)| meant(directory)) {
        ears.iter().for_each(Ear::stir);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn inode(path: &Path) -> Inode {
        let metadata = path.metadata().unwrap();
        (metadata.dev(), metadata.ino())
    }

    #[tokio::test]
    async fn watchers_of_one_directory_share_one_instance_and_each_is_told() {
        let directory = std::env::temp_dir().join(format!("sidestep-directories-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (directories, again) =
            (Directories::of_this_process().unwrap(), Directories::of_this_process().unwrap());
        assert!(Arc::ptr_eq(&directories, &again));
        let ((first, mut first_hears), (second, mut second_hears)) = (Ear::new(), Ear::new());
        for ear in [&first, &second] {
            directories.watch(&directory, inode(&directory), ear).unwrap();
        }
        std::fs::write(directory.join("file"), "one").unwrap();
        assert_eq!((first_hears.recv().await, second_hears.recv().await), (Some(()), Some(())));
        directories.forget(inode(&directory), &first);
        while first_hears.try_recv().is_ok() || second_hears.try_recv().is_ok() {}
        std::fs::write(directory.join("other"), "two").unwrap();
        assert_eq!(second_hears.recv().await, Some(()));
        assert!(first_hears.try_recv().is_err(), "who listens no more is not told");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
