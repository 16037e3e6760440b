//! Who is at the other end of the socket: the agent hears root of the node itself and nobody in a pod, and the plugin believes
//! nobody but an agent.
//!
//! The socket's directory is root's alone. A pod can have it mounted all the same, and root in a pod has user id 0: so what
//! counts is where the process at the other end lives. A runtime starts plugins in the node's own namespaces and outside of pods.
//! The agent is in a pod, but one that shares those namespaces.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::{PeerCredentials, PeerPidfd};
use thiserror::Error;

/// Namespaces that a runtime shares with the agent, which has the node's (`hostPID`). Not that of mounts, which an init system
/// may give a runtime of its own, and not that of the network, which the agent has for itself.
const SHARED: [&str; 2] = ["user", "pid"];
/// What the cgroups of all pods are called: the kubelet's, with or without systemd (`kubepods.slice`), and podman's.
const PODS: [&str; 2] = ["kubepods", "libpod"];

/// Why somebody is not heard, or not believed.
#[derive(Debug, Error)]
pub(super) enum Stranger {
    #[error("expected root, found user {0}")]
    User(u32),
    #[error("expected a process of this pid namespace, found none: the agent needs hostPID")]
    Hidden,
    #[error("expected a process in the node's own {0} namespace")]
    Namespace(&'static str),
    #[error("expected a process outside of pods, found one in {0}")]
    Pod(String),
    #[error("the process has ended")]
    Ended,
    #[error("cannot tell whose process it is: {0}")]
    Unknown(#[from] io::Error),
}

/// Refuses a caller that is not a process of the node.
pub(super) fn is_runtime(socket: &impl AsFd) -> Result<(), Stranger> {
    examine(socket, |pid| match pod(&fs::read_to_string(format!("/proc/{pid}/cgroup"))?) {
        Some(pod) => Err(Stranger::Pod(pod)),
        None => Ok(()),
    })
}

/// Refuses a listener that does not share the namespaces of the node.
pub(super) fn is_agent(socket: &impl AsFd) -> Result<(), Stranger> {
    examine(socket, |_| Ok(()))
}

/// Looks at what both have to be, and at more.
fn examine(socket: &impl AsFd, more: impl FnOnce(i32) -> Result<(), Stranger>) -> Result<(), Stranger> {
    let credentials = getsockopt(socket, PeerCredentials).map_err(io::Error::from)?;
    if credentials.uid() != 0 {
        return Err(Stranger::User(credentials.uid()));
    }
    let process = process(socket)?;
    let pid = credentials.pid();
    if pid == 0 {
        return Err(Stranger::Hidden);
    }
    let outcome = shares_namespaces(pid).and_then(|()| more(pid));
    // What was read was read of that process, and not of another that has its number now.
    match (process, outcome) {
        (Some(process), _) if has_ended(&process)? => Err(Stranger::Ended),
        (None, Err(Stranger::Unknown(error))) if error.kind() == ErrorKind::NotFound => Err(Stranger::Ended),
        (_, outcome) => outcome,
    }
}

fn shares_namespaces(pid: i32) -> Result<(), Stranger> {
    for namespace in SHARED {
        if identity(&format!("/proc/{pid}/ns/{namespace}"))?
            != identity(&format!("/proc/self/ns/{namespace}"))?
        {
            return Err(Stranger::Namespace(namespace));
        }
    }
    Ok(())
}

/// The process at the other end (`SO_PEERPIDFD`, Linux 6.5); none where the kernel has only its number, which somebody else may
/// have by now: of a listener that was forged and has ended, after as many processes as there are numbers.
fn process(socket: &impl AsFd) -> Result<Option<OwnedFd>, Stranger> {
    match getsockopt(socket, PeerPidfd) {
        Ok(process) => Ok(Some(process)),
        Err(Errno::ENOPROTOOPT) => Ok(None),
        // It was reaped before we looked.
        Err(Errno::ESRCH | Errno::EINVAL) => Err(Stranger::Ended),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

/// A pidfd is readable once its process has ended (pidfd_open(2)).
fn has_ended(process: &OwnedFd) -> io::Result<bool> {
    Ok(poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO)? > 0)
}

fn identity(namespace: &str) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(namespace)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// The first cgroup of a process that is a pod's (`/proc/PID/cgroup`, cgroups(7)).
fn pod(cgroups: &str) -> Option<String> {
    let paths = cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut pods =
        paths.filter(|path| path.split('/').any(|segment| PODS.iter().any(|pods| segment.starts_with(pods))));
    pods.next().map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_of_a_pod_is_told_from_one_of_the_node() {
        for (cgroups, expected) in [
            ("0::/system.slice/containerd.service\n", None),
            ("0::/\n", None),
            (
                "0::/kubepods.slice/kubepods-besteffort.slice/x.scope\n",
                Some("/kubepods.slice/kubepods-besteffort.slice/x.scope"),
            ),
            ("7:cpu:/system.slice\n0::/kubepods/besteffort/pod1/2\n", Some("/kubepods/besteffort/pod1/2")),
            // As seen from a cgroup namespace of our own.
            ("0::/../../kubepods-pod2.slice/cri-7.scope\n", Some("/../../kubepods-pod2.slice/cri-7.scope")),
        ] {
            assert_eq!(pod(cgroups).as_deref(), expected, "{cgroups}");
        }
    }
}
