//! Where a pod lives: its pod-level cgroup, found by its uid, and its network namespace, found by a process in that.
//!
//! The kubelet names the cgroup after the uid: `pod<uid>`, or with systemd `kubepods-<class>-pod<uid>.slice`, where the uid has
//! underscores (`pkg/kubelet/cm` of Kubernetes). Where in the hierarchy it lies is not the same everywhere, so it is looked for.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::sys::cgroup::{self, Cgroup};
use crate::sys::namespace::NetworkNamespace;

/// How deep pod-level cgroups lie at most, below the root of the hierarchy.
const DEPTH: usize = 5;
/// Bytes that a uid has at least: a shorter one could be part of another.
const SHORTEST_UID: usize = 8;

/// The pod-level cgroup of the pod with this uid.
///
/// # Errors
/// There is none.
pub(super) fn cgroup(uid: &str, mount: Option<&Path>) -> Result<Cgroup> {
    let root = match mount {
        Some(mount) => mount.to_owned(),
        None => cgroup::find_mount()?,
    };
    if uid.len() < SHORTEST_UID || !uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        bail!("expected the uid of a pod, found {uid:?}");
    }
    let plain = format!("pod{uid}");
    let slice = format!("-pod{}.slice", uid.replace('-', "_"));
    let is_it = |name: &str| name == plain || name.ends_with(&slice);
    // Level by level: pods lie near the root, and what is in them is much and need not be read.
    let mut level = vec![root.clone()];
    for _ in 0..DEPTH {
        let mut below = Vec::new();
        for directory in &level {
            for child in children(directory) {
                if child.file_name().and_then(|name| name.to_str()).is_some_and(is_it) {
                    return Cgroup::at(&child);
                }
                below.push(child);
            }
        }
        level = below;
    }
    bail!(
        "expected a cgroup named {plain} or *{slice} below {}, found none: mount the host's cgroup2 hierarchy into this container \
         and name it with capture.cgroup-mount",
        root.display()
    )
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
            let found = cgroup(UID, Some(root.path())).unwrap();
            assert_eq!(found.path(), root.path().join(&path));
        }
    }

    #[test]
    fn what_is_no_uid_finds_nothing() {
        let root = hierarchy(&["kubepods/pod", &format!("kubepods/pod{UID}")]);
        for uid in ["", "0a1b", "../../etc/passwd", "ffffffff-1111-2222-3333-444455556666"] {
            assert!(cgroup(uid, Some(root.path())).is_err(), "{uid:?}");
        }
    }
}
