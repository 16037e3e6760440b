//! A network namespace that exists as long as its value does.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use crate::process::capture;

/// Where iproute2 keeps named namespaces.
pub(super) const NAMED: &str = "/run/netns";

/// A named network namespace with its loopback up.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    pub(super) fn create(name: String) -> Result<Self> {
        capture(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Its name for `ip -n`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub(crate) fn path(&self) -> PathBuf {
        Path::new(NAMED).join(&self.name)
    }

    /// Runs `ip -n NAME ARGUMENTS…`.
    pub(super) fn ip(&self, arguments: &[&str]) -> Result<()> {
        capture(Command::new("ip").args(["-n", &self.name]).args(arguments)).map(drop)
    }

    /// Sets a kernel parameter of the namespace, by its path below /proc/sys.
    pub(super) fn set_parameter(&self, parameter: &str, value: &str) -> Result<()> {
        let file = format!("/proc/sys/{parameter}");
        self.inside(|| fs::write(&file, value).with_context(|| format!("write {value:?} to {file}")))
    }

    /// Runs `work` on a thread of its own inside the namespace; cgroup and file systems stay this process's.
    pub(super) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = self.path();
        thread::scope(|scope| {
            let worker = scope.spawn(move || {
                let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
                setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {}", path.display()))?;
                work()
            });
            worker.join().unwrap_or_else(|_| Err(anyhow!("a thread in {} panicked", self.name)))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = capture(Command::new("ip").args(["netns", "del", &self.name])) {
            eprintln!("lab: {error:#}");
        }
    }
}
