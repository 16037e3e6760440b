//! What a process has used, by the kernel's own books.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// Time on a processor and context switches of one process, since it began or between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Account {
    /// Of all its threads, those that have ended too.
    pub(super) cpu_ns: u64,
    /// How often one of its threads that still live waited.
    pub(super) waits: u64,
    /// How often one of its threads that still live was made to let another one run.
    pub(super) preemptions: u64,
}

impl Account {
    /// Looks; a process that has ended but was not waited for yet still has its time.
    pub(super) fn of(process: Pid) -> Result<Self> {
        let mut account = Self { cpu_ns: cpu_ns(process)?, ..Self::default() };
        let directory = format!("/proc/{process}/task");
        let threads = fs::read_dir(&directory).with_context(|| format!("read {directory}"))?;
        for thread in threads.flatten() {
            // A thread may end while we look.
            let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            account.waits += counted(&status, "voluntary_ctxt_switches:");
            account.preemptions += counted(&status, "nonvoluntary_ctxt_switches:");
        }
        Ok(account)
    }

    /// What was used since an earlier look.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            waits: self.waits.saturating_sub(earlier.waits),
            preemptions: self.preemptions.saturating_sub(earlier.preemptions),
        }
    }
}

/// How long a process has been on a processor, by the clock that the kernel keeps for each (clock_getcpuclockid(3)).
pub(crate) fn cpu_ns(process: Pid) -> Result<u64> {
    let clock = ClockId::pid_cpu_clock_id(process).with_context(|| format!("find the clock of {process}"))?;
    let used = clock_gettime(clock).with_context(|| format!("read the clock of {process}"))?;
    Ok(Duration::from(used).as_nanos() as u64)
}

/// A number of proc_pid_status(5).
fn counted(status: &str, field: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_of_either_kind_are_told_apart() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t545\n";
        assert_eq!(counted(status, "voluntary_ctxt_switches:"), 150);
        assert_eq!(counted(status, "nonvoluntary_ctxt_switches:"), 545);
        assert_eq!(counted("", "voluntary_ctxt_switches:"), 0);
    }

    #[test]
    fn time_passes_on_our_own_account() {
        let own = Pid::this();
        let before = Account::of(own).unwrap();
        let sum: u64 = (0..3_000_000).map(std::hint::black_box).sum();
        assert!(sum > 0);
        let used = Account::of(own).unwrap().since(before);
        assert!(used.cpu_ns > 0 && used.cpu_ns < 600_000_000_000, "{used:?}");
    }
}
