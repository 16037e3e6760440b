//! Who runs on which core while a sample is taken.

use std::fs;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::lab::peer::pin;

/// The cores a measurement may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    first: usize,
    second: Option<usize>,
}

impl Cores {
    /// The first two that this process may run on.
    pub(crate) fn of_this_machine() -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).context("ask which cores may be used")?;
        let mut cores = (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false));
        let Some(first) = cores.next() else { bail!("no core may be used") };
        Ok(Self { first, second: cores.next() })
    }

    /// The seatings that these cores allow.
    pub(crate) fn seatings(self) -> Vec<Seating> {
        match self.second {
            Some(_) => Seating::ALL.to_vec(),
            None => vec![Seating::OneCore],
        }
    }

    /// The core that stands alone in [`Seating::Apart`].
    fn other(self) -> usize {
        self.second.unwrap_or(self.first)
    }
}

impl std::fmt::Display for Cores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.second {
            Some(second) => write!(f, "cores {} and {second}", self.first),
            None => write!(f, "core {} only: nothing could be measured apart", self.first),
        }
    }
}

/// One column of every table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Seating {
    /// Client, server and proxy share one core: no wake-up crosses cores, so what is added is work.
    OneCore,
    /// The proxy has the second core to itself. Where there is no proxy in the way the server has it, so that the
    /// reference crosses cores too. Where there are two proxies, each side has a core, as if they were two machines.
    Apart,
}

/// What takes part in a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The measuring client.
    Client,
    /// The server it talks to.
    Server,
    /// The proxy in the client's pod.
    Proxy,
    /// The proxy in the server's pod.
    FarProxy,
}

/// What bytes pass between client and server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hop {
    /// One proxy.
    Relay,
    /// A proxy on either side.
    BothEnds,
    /// Nothing: client and server talk to each other.
    None,
}

impl Seating {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::OneCore, Self::Apart];

    /// What tables call it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::OneCore => "one core",
            Self::Apart => "proxy apart",
        }
    }

    /// What fields call it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::OneCore => "one-core",
            Self::Apart => "apart",
        }
    }

    /// The core of a client that does things at their times. Its timer costs as much as a hop (a core that sleeps wakes
    /// late, and each wake-up is several exits to the host in a virtual machine): it must not compete with the proxy.
    pub(crate) fn core_of_clock(self, cores: Cores) -> usize {
        match self {
            Self::OneCore => cores.other(),
            Self::Apart => cores.first,
        }
    }

    /// The core of a role.
    pub(crate) fn core(self, cores: Cores, role: Role, hop: Hop) -> usize {
        let crosses = match hop {
            Hop::Relay => role == Role::Proxy,
            Hop::None => matches!(role, Role::Proxy | Role::Server),
            Hop::BothEnds => matches!(role, Role::FarProxy | Role::Server),
        };
        match (self, crosses) {
            (Self::Apart, true) => cores.other(),
            _ => cores.first,
        }
    }
}

/// Moves every thread of a running process to a core; threads it starts later follow.
pub(crate) fn seat(process: Pid, core: usize) -> Result<()> {
    each_thread(process, |thread| pin(thread, core))
}

/// Lets every thread of a running process run wherever this one may.
pub(crate) fn unseat(process: Pid) -> Result<()> {
    let cores = sched_getaffinity(Pid::from_raw(0)).context("ask for the cores of this process")?;
    each_thread(process, |thread| sched_setaffinity(thread, &cores).context("run on every core"))
}

fn each_thread(process: Pid, act: impl Fn(Pid) -> Result<()>) -> Result<()> {
    let directory = format!("/proc/{process}/task");
    let threads = fs::read_dir(&directory).with_context(|| format!("read {directory}"))?;
    for thread in threads.flatten() {
        let name = thread.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        match act(Pid::from_raw(number.with_context(|| format!("read the thread id {name:?}"))?)) {
            // It has ended since the directory was read, as a server's threads do with their connections.
            Err(error) if error.downcast_ref() == Some(&Errno::ESRCH) => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_crosses_cores_where_the_proxy_does() {
        let cores = Cores { first: 4, second: Some(6) };
        let seats =
            |hop| [Role::Client, Role::Server, Role::Proxy].map(|role| Seating::Apart.core(cores, role, hop));
        assert_eq!(seats(Hop::Relay), [4, 4, 6]);
        assert_eq!(seats(Hop::None), [4, 6, 6]);
        assert_eq!(seats(Hop::BothEnds), [4, 6, 4]);
        assert_eq!(Seating::Apart.core(cores, Role::FarProxy, Hop::BothEnds), 6);
        assert_eq!(Seating::OneCore.core(cores, Role::Proxy, Hop::Relay), 4);
        assert_eq!(Seating::ALL.map(|seating| seating.core_of_clock(cores)), [6, 4]);
    }

    #[test]
    fn one_core_allows_one_column() {
        assert_eq!(Cores { first: 0, second: None }.seatings(), [Seating::OneCore]);
    }
}
