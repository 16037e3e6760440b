//! Two workloads on this machine to look at the product with: namespaces joined by a wire, cgroups below them, real
//! processes inside, the product beside them.
//!
//! Everything is made by name and removed by name: by its own value when that is dropped, and by the next run if this
//! one was killed. Nothing of the machine's own network namespace or of a cgroup it did not make is ever touched. What
//! is shown or measured here is the business of the chores that use it.

pub(crate) mod authority;
mod cgroup;
mod http;
mod mesh;
mod namespace;
pub(crate) mod node;
mod patience;
pub(crate) mod peer;
mod pod;
mod program;
mod sidecar;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::process::capture;

pub(crate) use authority::Authority;
pub(crate) use mesh::{Member, NAMESPACE};
use namespace::Namespace;
pub(crate) use node::{Agent, Node};
pub(crate) use patience::{Interrupt, Patience};
pub(crate) use peer::standing;
pub(crate) use pod::{Pod, Wire};
pub(crate) use program::Program;
pub(crate) use sidecar::{Log, Sidecar};
use sidecar::{PINS, cleanup};

/// What everything in one run shares: the names it gives, the files it writes, the binary it looks at.
#[derive(Debug)]
pub(crate) struct Lab {
    prefix: &'static str,
    sidestep: PathBuf,
    files: TempDir,
    interrupt: Interrupt,
}

impl Lab {
    /// Prepares a run whose names all begin with `prefix`, and removes what a killed run of the same prefix has left.
    pub(crate) fn open(prefix: &'static str, sidestep: PathBuf) -> Result<Self> {
        let interrupt = Interrupt::watch()?;
        let files = tempfile::Builder::new()
            .prefix(&format!("{prefix}-{}-", std::process::id()))
            .tempdir()
            .context("make a directory for configurations and logs")?;
        let lab = Self { prefix, sidestep, files, interrupt };
        lab.sweep()?;
        Ok(lab)
    }

    /// The binary under the looking glass.
    pub(crate) fn sidestep(&self) -> &Path {
        &self.sidestep
    }

    /// A place for a file of this run; gone with the run.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Waiting that ends when somebody interrupts the run.
    pub(crate) fn patience(&self) -> Patience<'_> {
        Patience::of(&self.interrupt)
    }

    /// A name that no other run gives.
    fn name(&self, role: &str) -> String {
        format!("{}-{}-{role}", self.prefix, std::process::id())
    }

    /// What of this run is still there: namespaces, cgroups, pins.
    pub(crate) fn leftovers(&self) -> Result<Vec<String>> {
        let cgroups = cgroup::mount()?;
        let mut left = Vec::new();
        for (directory, prefix) in [
            (Path::new(namespace::NAMED), self.prefix),
            (&cgroups, self.prefix),
            (Path::new(PINS), workload(self.prefix)),
        ] {
            let ours = |name: &String| owner(prefix, name) == Some(std::process::id());
            let names = names_in(directory).into_iter().filter(ours);
            left.extend(names.map(|name| directory.join(name).display().to_string()));
        }
        Ok(left)
    }

    /// Removes what runs have left whose process is gone: first the cgroups, for what lives in them holds the rest.
    fn sweep(&self) -> Result<()> {
        let orphans = |directory: &Path, prefix: &str| -> Vec<String> {
            let names = names_in(directory).into_iter();
            names.filter(|name| owner(prefix, name).is_some_and(is_gone)).collect()
        };
        let cgroups = cgroup::mount()?;
        for name in orphans(&cgroups, self.prefix) {
            cgroup::remove(&cgroups.join(name), self.patience())?;
        }
        for pins in orphans(Path::new(PINS), workload(self.prefix)) {
            cleanup(|| Command::new(&self.sidestep), &pins)?;
        }
        for name in orphans(Path::new(namespace::NAMED), self.prefix) {
            capture(Command::new("ip").args(["netns", "del", &name]))?;
        }
        let temporary = env::temp_dir();
        for name in orphans(&temporary, self.prefix) {
            let path = temporary.join(name);
            fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
        }
        Ok(())
    }
}

/// Fails unless this process may make namespaces and cgroups.
pub(crate) fn require_root(chore: &str) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "`cargo xtask {chore}` makes namespaces and cgroups, which needs root: \
             `sudo --preserve-env=PATH,HOME cargo xtask {chore}`"
        );
    }
    Ok(())
}

/// This very program, for a part of it that has to run in a workload. Named by process and not by path, since a path
/// may lead to a newer build by the time it is used.
pub(crate) fn this_program() -> PathBuf {
    PathBuf::from(format!("/proc/{}/exe", std::process::id()))
}

/// What a workload is called whose pod has this name. Logs and pins say `sidestep` already, and names of workloads
/// have to be short.
fn workload(pod: &str) -> &str {
    pod.strip_prefix("sidestep-").unwrap_or(pod)
}

/// The process that gave a name: `<prefix>-<pid>-<role>`.
fn owner(prefix: &str, name: &str) -> Option<u32> {
    name.strip_prefix(prefix)?.strip_prefix('-')?.split('-').next()?.parse().ok()
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// The names in a directory; none if it is not there.
fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_whose_it_is() {
        assert_eq!(owner("sidestep-demo", "sidestep-demo-17-client"), Some(17));
        assert_eq!(owner("sidestep-demo", "sidestep-demonstration-17"), None);
        assert_eq!(owner("sidestep-demo", "sidestep-bench-17-client"), None);
        assert_eq!(owner("sidestep-demo", "sidestep-demo-client"), None);
    }

    #[test]
    fn only_processes_that_live_are_not_gone() {
        assert!(!is_gone(std::process::id()));
        // Above the largest possible pid (linux/threads.h).
        assert!(is_gone(4_194_305));
    }
}
