//! Where in a workload a program runs: one cgroup and one network namespace.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use crate::process::Process;
use crate::{Cgroup, Namespace};

/// A cgroup and a network namespace to start programs in.
#[derive(Clone, Copy, Debug)]
pub struct Place<'pod> {
    /// The cgroup its programs join.
    pub cgroup: &'pod Cgroup,
    /// The namespace whose network they see.
    pub namespace: &'pod Namespace,
    /// How many descriptors they may have open; the limit they would inherit if absent.
    pub descriptors: Option<u64>,
    /// Further flags of `sidestep-peer enter`: what its programs have to do without.
    pub without: &'pod [&'pod str],
}

impl<'pod> Place<'pod> {
    /// The same place with a limit on open descriptors.
    #[must_use]
    pub const fn with_descriptors(mut self, descriptors: u64) -> Self {
        self.descriptors = Some(descriptors);
        self
    }

    /// The same place for programs that lack something, said with the flags of `sidestep-peer enter`.
    #[must_use]
    pub const fn without(mut self, flags: &'pod [&'pod str]) -> Self {
        self.without = flags;
        self
    }

    /// A command that will run `program` here.
    ///
    /// The peer binary joins cgroup and namespace and then becomes the program, so that the pid stays, no
    /// socket exists before the cgroup is right, and `/sys` stays as it is (`ip netns exec` would hide it).
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(peer_binary());
        command
            .arg("enter")
            .arg("--cgroup")
            .arg(self.cgroup.path())
            .arg("--netns")
            .arg(self.namespace.path());
        if let Some(descriptors) = self.descriptors {
            command.arg("--descriptors").arg(descriptors.to_string());
        }
        command.args(self.without).arg("--").arg(program);
        command
    }

    /// Starts a program here.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start<A: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Process {
        let mut command = self.command(program);
        command.args(arguments);
        Process::start(command)
    }

    /// Starts one of the [`crate::peer`] programs here; `line` is its command line, split at blanks.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn peer(&self, line: &str) -> Process {
        self.start(peer_binary(), line.split_whitespace())
    }
}

/// The binary of the peers: `SIDESTEP_PEER`, else beside the directory of the test binary.
#[must_use]
pub fn peer_binary() -> PathBuf {
    std::env::var_os("SIDESTEP_PEER").map_or_else(|| beside_tests("sidestep-peer"), PathBuf::from)
}

/// `target/<profile>/name`, seen from `target/<profile>/deps/<this test>`.
pub(crate) fn beside_tests(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap_or_default();
    let directory = tests.ancestors().skip(1).find(|path| path.file_name().is_none_or(|name| name != "deps"));
    directory.map(|path| path.join(name)).unwrap_or_default()
}
