//! Joining a cgroup and a network namespace, giving up what the program is to do without, and becoming it.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

use super::mounts::Mounts;
use crate::namespace;

#[derive(Debug, Args)]
pub(super) struct Enter {
    /// Directory of the cgroup to join
    #[arg(long)]
    cgroup: Option<PathBuf>,
    /// File of the network namespace to join
    #[arg(long)]
    netns: Option<PathBuf>,
    /// Limit on open descriptors
    #[arg(long)]
    descriptors: Option<u64>,
    /// Capability that the program must not have, without `CAP_`; may be repeated
    #[arg(long, value_enum)]
    without_capability: Vec<Capability>,
    /// Keep of root's capabilities those that container runtimes leave to a container's root
    #[arg(long)]
    container: bool,
    /// User to become; root's capabilities are gone then
    #[arg(long)]
    user: Option<u32>,
    #[command(flatten)]
    mounts: Mounts,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// A capability that can be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Capability {
    Bpf,
    NetAdmin,
    NetRaw,
    SysAdmin,
}

impl From<Capability> for CapabilitySet {
    fn from(capability: Capability) -> Self {
        match capability {
            Capability::Bpf => Self::BPF,
            Capability::NetAdmin => Self::NET_ADMIN,
            Capability::NetRaw => Self::NET_RAW,
            Capability::SysAdmin => Self::SYS_ADMIN,
        }
    }
}

/// What runtimes leave to a container's root unless they are told otherwise (Docker, "Runtime privilege and Linux
/// capabilities").
const OF_CONTAINERS: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

impl Enter {
    pub(super) fn run(self) -> anyhow::Result<()> {
        if let Some(cgroup) = &self.cgroup {
            // "0" stands for the writer itself (Documentation/admin-guide/cgroup-v2.rst).
            std::fs::write(cgroup.join("cgroup.procs"), "0")
                .with_context(|| format!("join the cgroup {}", cgroup.display()))?;
        }
        if let Some(netns) = &self.netns {
            namespace::enter(netns).with_context(|| format!("join the namespace {}", netns.display()))?;
        }
        if let Some(descriptors) = self.descriptors {
            setrlimit(Resource::RLIMIT_NOFILE, descriptors, descriptors).context("limit descriptors")?;
        }
        let Some((program, arguments)) = self.command.split_first() else {
            bail!("expected a program after `--`, found nothing");
        };
        self.mounts.change().context("change what is mounted")?;
        for capability in self.lacking() {
            // What is not in this set, root does not get back by exec() (capabilities(7)).
            remove_capability_from_bounding_set(capability)
                .with_context(|| format!("give up the capability {capability:?}"))?;
        }
        let mut command = Command::new(program);
        // Opened by root: the way to it need not be open to another user.
        let opened;
        if let Some(user) = self.user {
            opened = File::open(program).with_context(|| format!("open {}", program.display()))?;
            command = Command::new(format!("/proc/self/fd/{}", opened.as_raw_fd()));
            become_user(user).with_context(|| format!("become the user {user}"))?;
        }
        let error = command.args(arguments).exec();
        Err(error).with_context(|| format!("run {}", program.display()))
    }
}

impl Enter {
    /// Each capability that the program must not have.
    fn lacking(&self) -> impl Iterator<Item = CapabilitySet> {
        let kept = if self.container { OF_CONTAINERS } else { CapabilitySet::all() };
        let named = self.without_capability.iter().map(|capability| CapabilitySet::from(*capability));
        kept.complement().iter_names().map(|(_, capability)| capability).chain(named)
    }
}

/// Becomes a user without any group but one of the same number.
fn become_user(user: u32) -> nix::Result<()> {
    setgroups(&[])?;
    setgid(Gid::from_raw(user))?;
    setuid(Uid::from_raw(user))
}
