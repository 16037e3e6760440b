//! Where a pod lives: its pod-level cgroup, found by its uid, and its network namespace, found by a process in that.
//!
//! The kubelet names the cgroup after the uid: `pod<uid>`, or with systemd `kubepods-<class>-pod<uid>.slice`, where the uid has
//! underscores (`pkg/kubelet/cm` of Kubernetes). Where in the hierarchy it lies is not the same everywhere, so it is looked for.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::sys::cgroup::{self, Cgroup};
use crate::sys::namespace::NetworkNamespace;

/// How deep pod-level cgroups lie at most, below the root of the hierarchy.
const DEPTH: usize = 5;
/// Bytes that a uid has at least: a shorter one could be part of another.
const SHORTEST_UID: usize = 8;

/// The pod-level cgroups of the node.
pub(super) struct PodCgroups {
    root: PathBuf,
    /// Those that the last search has come across, by uid: who takes hundreds of pods over does not search for each.
    seen: Mutex<HashMap<String, PathBuf>>,
}

impl PodCgroups {
    /// Those below a mount of the cgroup2 hierarchy, or below the one that the machine has.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn below(mount: Option<&Path>) -> Result<Self> {
        let root = mount.map_or_else(cgroup::find_mount, |mount| Ok(mount.to_owned()))?;
        Ok(Self { root, seen: Mutex::default() })
    }

    /// The pod-level cgroup of the pod with this uid.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn of(&self, uid: &str) -> Result<Cgroup> {
        if !is_uid(uid) {
            bail!("expected the uid of a pod, found {uid:?}");
        }
        // Held while somebody searches: what is found is what others would search for.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = seen.get(uid).and_then(|path| Cgroup::at(path).ok()) {
            return Ok(known);
        }
        *seen = search(&self.root, uid);
        let found = seen.get(uid).with_context(|| {
            format!(
                "expected a cgroup named pod{uid} or *-pod{}.slice below {}, found none: mount the host's cgroup2 hierarchy \
                 into this container and name it with capture.cgroup-mount",
                uid.replace('-', "_"),
                self.root.display()
            )
        })?;
        Cgroup::at(found)
    }
}

/// Searches for the cgroup of one pod, and says where those of the pods are that were come across.
///
/// Level by level: pods lie near the root, and what is in them is much and need not be read.
fn search(root: &Path, wanted: &str) -> HashMap<String, PathBuf> {
    let mut seen = HashMap::new();
    let mut level = vec![root.to_owned()];
    for _ in 0..DEPTH {
        let mut below = Vec::new();
        for child in level.iter().flat_map(|directory| children(directory)) {
            match child.file_name().and_then(|name| uid_in(name.to_str()?)) {
                // The one nearest to the root: what is deeper may have been made by whoever owns a part of the hierarchy.
                Some(uid) => drop(seen.entry(uid).or_insert(child)),
                None => below.push(child),
            }
        }
        if seen.contains_key(wanted) {
            break;
        }
        level = below;
    }
    seen
}

/// The uid of the pod whose cgroup has this name.
fn uid_in(name: &str) -> Option<String> {
    let slice = name.strip_suffix(".slice").and_then(|name| name.rsplit_once("-pod"));
    let uid = match slice {
        Some((_, uid)) => uid.replace('_', "-"),
        None => name.strip_prefix("pod")?.to_owned(),
    };
    is_uid(&uid).then_some(uid)
}

fn is_uid(text: &str) -> bool {
    text.len() >= SHORTEST_UID && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

/// The network namespace that the processes of a pod have.
///
/// # Errors
/// There is no process, or its namespace is this process's own or cannot be opened.
pub(super) fn network(pod: &Cgroup) -> Result<NetworkNamespace> {
    let pid = first_process(pod.path()).with_context(|| {
        format!(
            "expected a process in {}, found none that is seen from here: this process needs the host's pids (hostPID: true)",
            pod.path().display()
        )
    })?;
    NetworkNamespace::at(Path::new(&format!("/proc/{pid}/ns/net")))
        .with_context(|| format!("open the network namespace of process {pid}"))
}

/// Some process of a cgroup or of one below it.
fn first_process(directory: &Path) -> Option<u32> {
    let listed = fs::read_to_string(directory.join("cgroup.procs")).ok();
    // 0 is a process of a pid namespace that is not seen from here.
    let own = listed.and_then(|pids| pids.lines().filter_map(|pid| pid.parse().ok()).find(|&pid| pid != 0));
    own.or_else(|| children(directory).iter().find_map(|child| first_process(child)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0a1b2c3d-1111-2222-3333-444455556666";

    fn hierarchy(directories: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for directory in directories {
            let path = root.path().join(directory);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("cgroup.procs"), "").unwrap();
        }
        root
    }

    #[test]
    fn a_pod_is_found_whichever_driver_has_named_its_cgroup() {
        let slice = "kubepods.slice/kubepods-burstable.slice/\
                     kubepods-burstable-pod0a1b2c3d_1111_2222_3333_444455556666.slice";
        for path in [
            format!("kubepods/pod{UID}"),
            format!("kubepods/besteffort/pod{UID}"),
            slice.to_owned(),
            format!("kubelet/{slice}"),
        ] {
            let root =
                hierarchy(&[&path, "system.slice/other", "kubepods/podffffffff-1111-2222-3333-444455556666"]);
            let found = PodCgroups::below(Some(root.path())).unwrap().of(UID).unwrap();
            assert_eq!(found.path(), root.path().join(&path));
        }
    }

    #[test]
    fn what_is_no_uid_finds_nothing() {
        let root = hierarchy(&["kubepods/pod", &format!("kubepods/pod{UID}")]);
        for uid in ["", "0a1b", "../../etc/passwd", "ffffffff-1111-2222-3333-444455556666"] {
            assert!(PodCgroups::below(Some(root.path())).unwrap().of(uid).is_err(), "{uid:?}");
        }
    }

    #[test]
    fn what_one_search_has_seen_is_not_searched_for_again_unless_it_has_gone() {
        const OTHER: &str = "ffffffff-1111-2222-3333-444455556666";
        let root = hierarchy(&[&format!("kubepods/pod{UID}"), &format!("kubepods/pod{OTHER}")]);
        let cgroups = PodCgroups::below(Some(root.path())).unwrap();
        let path = |directory: &str, uid: &str| root.path().join(directory).join(format!("pod{uid}"));
        assert_eq!(cgroups.of(UID).unwrap().path(), path("kubepods", UID));
        // Where a search finds nothing: it follows no links, and does not go so deep.
        let (place, deep) = (root.path().join("kubepods"), root.path().join("a/b/c/d/e/f"));
        fs::create_dir_all(deep.parent().unwrap()).unwrap();
        fs::rename(&place, &deep).unwrap();
        std::os::unix::fs::symlink(&deep, &place).unwrap();
        assert_eq!(cgroups.of(OTHER).unwrap().path(), path("kubepods", OTHER));
        fs::remove_file(&place).unwrap();
        assert!(cgroups.of(OTHER).is_err());
        fs::rename(&deep, root.path().join("elsewhere")).unwrap();
        for uid in [OTHER, UID] {
            assert_eq!(cgroups.of(uid).unwrap().path(), path("elsewhere", uid));
        }
    }

    #[test]
    fn of_two_with_one_uid_it_is_the_one_nearest_to_the_root() {
        let root = hierarchy(&[&format!("user.slice/app/pod{UID}"), &format!("kubepods/pod{UID}")]);
        let cgroups = PodCgroups::below(Some(root.path())).unwrap();
        // A search for one that is not there goes through all of it.
        assert!(cgroups.of("ffffffff-1111-2222-3333-444455556666").is_err());
        assert_eq!(cgroups.of(UID).unwrap().path(), root.path().join("kubepods").join(format!("pod{UID}")));
    }
}
