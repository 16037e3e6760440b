//! Cgroups of the cgroup2 hierarchy, made and removed.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Patience;

/// How long the last process of a cgroup may take to die when nobody can be told to wait.
const DYING: Duration = Duration::from_secs(5);

/// A directory of the cgroup2 hierarchy. Dropped, it takes everything that runs in it and below along.
#[derive(Debug)]
pub(super) struct Cgroup {
    path: PathBuf,
    /// One that it shares with others, the last of which takes it along.
    above: Option<PathBuf>,
}

impl Cgroup {
    /// Makes a cgroup below the root of the hierarchy.
    pub(super) fn create(name: &str) -> Result<Self> {
        Self::make(mount()?.join(name), None)
    }

    /// Makes a cgroup in one that it shares with others, which is made if it is not there.
    pub(super) fn create_in(above: &str, name: &str) -> Result<Self> {
        let above = mount()?.join(above);
        match fs::create_dir(&above) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("make the cgroup {}", above.display()))
            }
            _ => Self::make(above.join(name), Some(above)),
        }
    }

    /// Makes a cgroup below this one. It goes with this one.
    pub(super) fn child(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir(&path).with_context(|| format!("make the cgroup {}", path.display()))?;
        Ok(path)
    }

    fn make(path: PathBuf, above: Option<PathBuf>) -> Result<Self> {
        fs::create_dir(&path).with_context(|| format!("make the cgroup {}", path.display()))?;
        Ok(Self { path, above })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // After an interruption too, so without the patience that an interruption ends.
        let deadline = Instant::now() + DYING;
        while let Err(error) = kill_and_remove(&self.path) {
            if Instant::now() > deadline {
                eprintln!("lab: remove the cgroup {}: {error}", self.path.display());
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        if let Some(above) = &self.above {
            let _others_are_there = fs::remove_dir(above);
        }
    }
}

/// Kills everything in a cgroup of a run that is gone, and removes it.
pub(super) fn remove(path: &Path, patience: Patience<'_>) -> Result<()> {
    patience.until(&format!("the removal of {}", path.display()), || Ok(kill_and_remove(path).ok()))
}

fn kill_and_remove(path: &Path) -> io::Result<()> {
    fs::write(path.join("cgroup.kill"), "1")?;
    for entry in fs::read_dir(path)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            kill_and_remove(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

/// Where the cgroup2 hierarchy is mounted.
pub(super) fn mount() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    parse_mount(&mounts).context(
        "no cgroup2 hierarchy in /proc/self/mountinfo; mount one: \
         `mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified`",
    )
}

/// The first cgroup2 mount in the text of /proc/self/mountinfo (proc_pid_mountinfo(5)).
fn parse_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ").then(|| place.split(' ').nth(4).map(PathBuf::from))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_is_found_beside_the_old_ones() {
        let mounts = "40 31 0:37 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(parse_mount(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(parse_mount("22 1 0:5 / /proc rw - proc proc rw\n"), None);
    }
}
