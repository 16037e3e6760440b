//! A cgroup of the cgroup2 hierarchy that exists as long as its value does.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Once;

use crate::Process;
use crate::namespace::{owner_is_gone, serial};
use crate::patience::eventually;

/// A directory of the cgroup2 hierarchy and everything below it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    const PREFIX: &'static str = "sidestep-test-";

    /// Makes a cgroup with a name of its own below the root of the hierarchy, where no program of ours is
    /// ever attached.
    ///
    /// # Panics
    /// When no cgroup2 hierarchy is mounted or the directory cannot be made.
    #[must_use]
    pub fn new() -> Self {
        static SWEPT: Once = Once::new();
        let root =
            mount().unwrap_or_else(|| panic!("no cgroup2 hierarchy in /proc/self/mountinfo; mount one"));
        SWEPT.call_once(|| sweep(&root));
        Self::make(root.join(format!("{}{}-{}", Self::PREFIX, std::process::id(), serial())))
    }

    /// Makes a cgroup below this one.
    ///
    /// # Panics
    /// When the directory cannot be made.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self::make(self.path.join(name))
    }

    fn make(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap_or_else(|error| panic!("make the cgroup {}: {error}", path.display()));
        Self { path }
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The processes in it, without those of cgroups below it.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Moves a process into it, as whoever is in charge of the machine may do.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn adopt(&self, process: &Process) {
        let pid = process.pid().to_string();
        fs::write(self.path.join("cgroup.procs"), &pid)
            .unwrap_or_else(|error| panic!("move process {pid} to {}: {error}", self.path.display()));
    }

    /// Removes its directory and those below it, and kills who still lives there. The value stays, and so may others
    /// that name the same directories.
    ///
    /// # Panics
    /// When it is still there after the patience.
    pub fn remove(&self) {
        eventually(&format!("remove the cgroup {}", self.path.display()), || kill_and_remove(&self.path));
    }

    /// Makes its directory once more after [`Self::remove`].
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn make_again(&self) {
        fs::create_dir(&self.path)
            .unwrap_or_else(|error| panic!("make the cgroup {}: {error}", self.path.display()));
    }

    /// Names of the cgroups directly below it.
    #[must_use]
    pub fn children(&self) -> Vec<String> {
        directories(&self.path)
            .iter()
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect()
    }
}

impl Default for Cgroup {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let path = &self.path;
        let gone = std::panic::catch_unwind(|| {
            eventually(&format!("remove the cgroup {}", path.display()), || kill_and_remove(path));
        });
        // A second panic while the first one unwinds would hide what the test has to say.
        if gone.is_err() && !std::thread::panicking() {
            panic!("the cgroup {} could not be removed", path.display());
        }
    }
}

/// A bound on the memory that a process takes from now on, beyond which the kernel kills it.
#[derive(Debug)]
pub struct MemoryLimit {
    directory: PathBuf,
    /// Where the kernel counts whom it has killed.
    kills: &'static str,
    own: bool,
}

impl MemoryLimit {
    /// Bounds a process that lives alone in a cgroup.
    ///
    /// # Panics
    /// When the machine has no memory controller, or it refuses.
    #[must_use]
    pub fn on(cgroup: &Cgroup, process: &Process, bytes: u64) -> Self {
        let write = |file: PathBuf, value: &str| {
            fs::write(&file, value)
                .unwrap_or_else(|error| panic!("write {value} to {}: {error}", file.display()));
        };
        match memory_controller().unwrap_or_else(|| panic!("the memory controller has gone")) {
            MemoryController::Unified(root) => {
                write(root.join("cgroup.subtree_control"), "+memory");
                write(cgroup.path().join("memory.max"), &bytes.to_string());
                Self { directory: cgroup.path().to_owned(), kills: "memory.events", own: false }
            }
            MemoryController::Alone(mount) => {
                let name = format!("{}{}-{}", Cgroup::PREFIX, std::process::id(), serial());
                let path = mount.join(name);
                fs::create_dir(&path).unwrap_or_else(|error| panic!("make {}: {error}", path.display()));
                write(path.join("memory.limit_in_bytes"), &bytes.to_string());
                write(path.join("cgroup.procs"), &process.pid().to_string());
                Self { directory: path, kills: "memory.oom_control", own: true }
            }
        }
    }

    /// How many processes the kernel has killed for it.
    #[must_use]
    pub fn kills(&self) -> u64 {
        let text = fs::read_to_string(self.directory.join(self.kills)).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
        count.unwrap_or(0)
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        if self.own {
            // Whoever still lives there goes on without a bound.
            let _ = fs::write(self.directory.join("memory.limit_in_bytes"), "-1");
            let _ = fs::remove_dir(&self.directory);
        }
    }
}

/// Where memory can be bounded.
#[derive(Debug)]
pub(crate) enum MemoryController {
    /// In the cgroup2 hierarchy.
    Unified(PathBuf),
    /// In a hierarchy of version 1 of its own.
    Alone(PathBuf),
}

/// The memory controller of this machine, if there is one.
pub(crate) fn memory_controller() -> Option<MemoryController> {
    let unified = mount()?;
    let controllers = fs::read_to_string(unified.join("cgroup.controllers")).unwrap_or_default();
    if controllers.split_whitespace().any(|name| name == "memory") {
        return Some(MemoryController::Unified(unified));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let alone = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let is_it = after.next()? == "cgroup" && after.nth(1)?.split(',').any(|option| option == "memory");
        is_it.then(|| before.split(' ').nth(4).map(PathBuf::from))?
    });
    alone.map(MemoryController::Alone)
}

/// Kills everything in a cgroup and below, and removes it when the last process has left.
///
/// # Errors
/// While a process is still on its way out.
pub fn kill_and_remove(path: &Path) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    // Absent before Linux 5.14, where nothing of ours runs.
    fs::write(path.join("cgroup.kill"), "1")?;
    remove_tree(path)
}

fn remove_tree(path: &Path) -> io::Result<()> {
    for below in directories(path) {
        remove_tree(&below)?;
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Removes what test processes that were killed have left.
fn sweep(root: &Path) {
    for path in directories(root) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if owner_is_gone(&name, Cgroup::PREFIX)
            && let Err(error) = kill_and_remove(&path)
        {
            eprintln!("left by an earlier run, could not be removed: {}: {error}", path.display());
        }
    }
}

/// Where the cgroup2 hierarchy is mounted, from `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
#[must_use]
pub fn mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        (after.split(' ').next()? == "cgroup2").then(|| before.split(' ').nth(4).map(PathBuf::from))?
    })
}
