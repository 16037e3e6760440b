//! Control groups, version 2: finding our own, making and removing children.
//!
//! The cgroup2 hierarchy may be mounted beside version 1 controllers (hybrid), and inside a container with its own cgroup
//! namespace it is visible whole only through a mount of the host's. So a process finds itself by looking where the kernel
//! lists its pid, never by trusting a path.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A cgroup directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// The cgroup at a directory of a cgroup2 mount.
    ///
    /// # Errors
    /// If there is none.
    pub fn at(path: &Path) -> Result<Self> {
        if !path.join("cgroup.procs").exists() {
            bail!("expected a cgroup2 directory at {}, found no cgroup.procs in it", path.display());
        }
        Ok(Self { path: path.to_owned() })
    }

    /// The cgroup of this process, below the given cgroup2 mount or the one that the machine has.
    ///
    /// # Errors
    /// If there is no cgroup2 mount, or none of its cgroups lists this process.
    pub fn own(mount: Option<&Path>) -> Result<Self> {
        Self::of(std::process::id(), mount)
    }

    /// The cgroup of a process of our pid namespace, below the given cgroup2 mount or the one that the machine has.
    ///
    /// # Errors
    /// If there is no cgroup2 mount, or none of its cgroups lists the process.
    pub fn of(pid: u32, mount: Option<&Path>) -> Result<Self> {
        let mount = match mount {
            Some(mount) => mount.to_owned(),
            None => find_mount()?,
        };
        let told = fs::read_to_string(format!("/proc/{pid}/cgroup"))
            .with_context(|| format!("read /proc/{pid}/cgroup"))?;
        let below = told.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let direct = mount.join(below);
        if lists(&direct, pid) {
            return Ok(Self { path: direct });
        }
        find(&mount, pid).map(|path| Self { path }).with_context(|| {
            format!(
                "expected process {pid} in a cgroup below {}, found it in none: mount the host's cgroup2 hierarchy \
                 into this container and name it with capture.cgroup-mount",
                mount.display()
            )
        })
    }

    /// Whether the directory is still there.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.path.join("cgroup.procs").exists()
    }

    /// Whether it is the root of the hierarchy, as far as this process sees it. The root alone has no type
    /// (Documentation/admin-guide/cgroup-v2.rst).
    #[must_use]
    pub fn is_root(&self) -> bool {
        !self.path.join("cgroup.type").exists()
    }

    /// Whether a process of our pid namespace lives in a cgroup below this one. Whichever mount this one is seen through:
    /// what counts is where the kernel lists the process.
    #[must_use]
    pub fn has_below(&self, pid: u32) -> bool {
        find(&self.path, pid).is_some_and(|found| found != self.path)
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its path below the root of the hierarchy, as `iptables -m cgroup --path` takes it.
    ///
    /// # Errors
    /// If it is not below the given mount, or the one that the machine has.
    pub fn below_mount(&self, mount: Option<&Path>) -> Result<String> {
        let mount = match mount {
            Some(mount) => mount.to_owned(),
            None => find_mount()?,
        };
        let below = self.path.strip_prefix(&mount).ok().and_then(Path::to_str);
        let below = below.with_context(|| {
            format!("expected {} below the cgroup2 mount {}", self.path.display(), mount.display())
        })?;
        Ok(below.to_owned())
    }

    /// Its id as `bpf_get_current_cgroup_id` gives it: the inode of the directory.
    ///
    /// # Errors
    /// If it is gone.
    pub fn id(&self) -> io::Result<u64> {
        Ok(fs::metadata(&self.path)?.ino())
    }

    /// The directory as a descriptor to attach to.
    ///
    /// # Errors
    /// If it is gone.
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// The cgroup above.
    ///
    /// # Errors
    /// If this is the root of the hierarchy.
    pub fn parent(&self) -> Result<Self> {
        let parent = Self { path: self.path.parent().map(Path::to_owned).unwrap_or_default() };
        // The root is the one place where nothing of ours may ever attach.
        if parent.is_root() {
            bail!(
                "expected a pod-level cgroup above {}, found the root of the hierarchy: programs are never attached to \
                 the root cgroup; name the pod's with capture.cgroup",
                self.path.display()
            );
        }
        Ok(parent)
    }

    /// Makes a child.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn child(&self, name: &str) -> Result<Self> {
        let path = self.path.join(name);
        fs::create_dir(&path).with_context(|| format!("make the cgroup {}", path.display()))?;
        Ok(Self { path })
    }

    /// Moves a process into it.
    ///
    /// # Errors
    /// EBUSY where the cgroup delegates controllers, ESRCH for a process that is gone.
    pub fn adopt(&self, pid: u32) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), pid.to_string())
    }

    /// Whether any process lives in it or below.
    ///
    /// # Errors
    /// If it is gone.
    pub fn is_populated(&self) -> io::Result<bool> {
        Ok(fs::read_to_string(self.path.join("cgroup.events"))?.lines().any(|line| line == "populated 1"))
    }

    /// Kills every process in it and below (`cgroup.kill`, Linux 5.14), then removes it and its children.
    ///
    /// # Errors
    /// If processes survive for ten seconds, or the directory does.
    pub fn destroy(&self) -> Result<()> {
        // Somebody else may remove it at the same time, and what is gone is destroyed.
        gone_is_fine(fs::write(self.path.join("cgroup.kill"), "1"))
            .with_context(|| format!("kill {}", self.path.display()))?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.is_populated().unwrap_or(false) {
            if Instant::now() > deadline {
                bail!("processes in {} survived SIGKILL for ten seconds", self.path.display());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        gone_is_fine(remove(&self.path)).with_context(|| format!("remove the cgroup {}", self.path.display()))
    }
}

fn gone_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => Ok(()),
        outcome => outcome,
    }
}

/// Removes a cgroup directory, children first.
fn remove(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            gone_is_fine(remove(&entry.path()))?;
        }
    }
    fs::remove_dir(path)
}

/// Where cgroup2 is mounted (`/proc/self/mountinfo`, proc_pid_mountinfo(5)).
///
/// # Errors
/// If it is mounted nowhere.
pub fn find_mount() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    parse_mount(&mounts).context(
        "expected a cgroup2 hierarchy, found none mounted: mount one with `mount -t cgroup2 none /sys/fs/cgroup`",
    )
}

/// The mount point of the first cgroup2 mount.
fn parse_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?;
        after.starts_with("cgroup2 ").then(|| PathBuf::from(unescape(point)))
    })
}

/// Undoes the octal escapes of mountinfo for space, tab, newline and backslash.
fn unescape(point: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(point.to_owned(), |text, (escape, meaning)| text.replace(escape, meaning))
}

fn lists(directory: &Path, pid: u32) -> bool {
    let pid = pid.to_string();
    fs::read_to_string(directory.join("cgroup.procs"))
        .is_ok_and(|pids| pids.lines().any(|listed| listed == pid))
}

/// Looks through a whole hierarchy for the cgroup that lists a process. The kernel translates the pids into the
/// reader's pid namespace (0 where it has none), so that one of ours can be nobody else's.
fn find(directory: &Path, pid: u32) -> Option<PathBuf> {
    if lists(directory, pid) {
        return Some(directory.to_owned());
    }
    let children = fs::read_dir(directory).ok()?;
    children
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .find_map(|entry| find(&entry.path(), pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup2_mount_is_found_beside_version_1_controllers() {
        let mounts = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(parse_mount(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(parse_mount("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"), None);
    }

    #[test]
    fn a_mount_point_with_a_space_is_unescaped() {
        let mounts = "41 31 0:38 / /mnt/two\\040words rw - cgroup2 cgroup2 rw\n";
        assert_eq!(parse_mount(mounts), Some(PathBuf::from("/mnt/two words")));
    }
}
