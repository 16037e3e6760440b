//! Removing pins that nobody needs any more: those that dead processes left, and those of workloads that are gone.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::FlockArg;

use crate::datapath::pins::{NODE, ROOT, directory_of, lock, workload_of};
use crate::sys::{bpf, bpffs};

/// What [`clean`] found of one workload, or of the node ([`NODE`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cleaned {
    /// Its pins were left behind, and are removed now (or would be).
    Removed(String),
    /// A live process holds it.
    InUse(String),
}

/// Detaches and unpins everything in a workload's directory, then the directory, then the root if it is empty.
pub(super) fn remove_tree(directory: &Path) -> Result<()> {
    let links = directory.join("links");
    if links.exists() {
        for entry in fs::read_dir(&links)? {
            let path = entry?.path();
            if let Ok(link) = bpf::pinned(&path) {
                // A link whose cgroup or namespace is gone has nothing left to detach.
                let _gone = bpf::link_detach(&link);
            }
        }
    }
    // Out of the way in one step: who starts meanwhile makes a directory of its own, and never meets half of this one. No
    // workload's name has an underscore.
    let inode = fs::metadata(directory).with_context(|| format!("stat {}", directory.display()))?.ino();
    let removed = directory.with_file_name(format!("_{inode}"));
    fs::rename(directory, &removed).with_context(|| format!("rename {}", directory.display()))?;
    fs::remove_dir_all(&removed).with_context(|| format!("remove {}", removed.display()))?;
    if let Some(root) = directory.parent() {
        // Not empty while another workload has pins.
        let _others = fs::remove_dir(root);
    }
    Ok(())
}

/// What to do with pins that were left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Only say what would be removed.
    DryRun,
    /// Detach and remove.
    Remove,
}

/// Removes what dead processes left behind: of one workload, or of all. What a live process holds stays.
///
/// # Errors
/// If something that should go stays.
pub fn clean(workload: Option<&str>, how: Cleanup) -> Result<Vec<Cleaned>> {
    let root = Path::new(bpffs::MOUNT_POINT).join(ROOT);
    let mut names: Vec<String> = match fs::read_dir(&root) {
        Ok(entries) => entries
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().into_string().ok().map(|name| workload_of(&name)))
            .filter(|name| workload.is_none_or(|wanted| belongs_to(name, wanted)))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("read {}", root.display())),
    };
    names.sort_unstable();
    names.into_iter().map(|name| clean_one(&root.join(directory_of(&name)), name, how)).collect()
}

/// Whether pins are those of a workload: of exactly that name, or of that name and the id of a pod-level cgroup. What the
/// workloads of a node share belongs to none.
fn belongs_to(pins: &str, workload: &str) -> bool {
    pins != NODE
        && pins.strip_prefix(workload).is_some_and(|rest| match rest.strip_prefix('-') {
            Some(id) => !id.is_empty() && id.bytes().all(|digit| digit.is_ascii_digit()),
            None => rest.is_empty(),
        })
}

fn clean_one(directory: &Path, name: String, how: Cleanup) -> Result<Cleaned> {
    let Ok(_lock) = lock(directory, FlockArg::LockExclusiveNonblock) else {
        return Ok(Cleaned::InUse(name));
    };
    if how == Cleanup::Remove {
        remove_tree(directory)?;
    }
    Ok(Cleaned::Removed(name))
}

/// Removes the pins of workloads that are gone as a whole, as every process does of its own accord when it opens its first.
pub fn sweep() {
    remove_orphans(&Path::new(bpffs::MOUNT_POINT).join(ROOT), "");
}

/// Removes the pins of workloads that are gone with their cgroup: nothing is attached by them any more, and no start will ever
/// adopt them, because no later cgroup has that id. Those of the workload that is starting stay.
pub(super) fn remove_orphans(root: &Path, starting: &str) {
    let Ok(entries) = fs::read_dir(root) else { return };
    for directory in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let others = directory.file_name().is_some_and(|name| name != starting);
        if others
            && let Ok(_lock) = lock(&directory, FlockArg::LockExclusiveNonblock)
            && is_orphaned(&directory.join("links"))
            && let Err(error) = remove_tree(&directory)
        {
            tracing::warn!(error = format!("{error:#}"), "pins of a workload that is gone stay");
        }
    }
}

/// Whether there are links and none of them is attached to anything.
fn is_orphaned(links: &Path) -> bool {
    let Ok(entries) = fs::read_dir(links) else { return false };
    let targets: Vec<bool> = entries
        .filter_map(Result::ok)
        .map(|entry| {
            let target = bpf::pinned(&entry.path()).and_then(bpf::link_target);
            target.is_ok_and(|target| target.cgroup() == Some(0) || target.network_namespace() == Some(0))
        })
        .collect();
    !targets.is_empty() && targets.iter().all(|&gone| gone)
}

#[cfg(test)]
mod tests {
    use super::belongs_to;

    #[test]
    fn pins_belong_to_the_workload_they_are_named_after() {
        for pins in ["web", "web-4711"] {
            assert!(belongs_to(pins, "web"), "{pins}");
        }
        for pins in ["web-db", "web-", "webb", "we", "web-db-4711"] {
            assert!(!belongs_to(pins, "web"), "{pins}");
        }
    }

    #[test]
    fn what_a_node_shares_belongs_to_no_workload_not_even_one_of_that_name() {
        assert!(!belongs_to("node", "node"));
        assert!(belongs_to("node-4711", "node"));
    }
}
