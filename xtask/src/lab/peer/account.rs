//! What a process has spent: its time on a processor, and how often it was put aside.

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// One process, or several together, over one stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// Time on a processor, in user and kernel space, in nanoseconds.
    pub(crate) cpu_ns: u64,
    /// How often it waited for something.
    pub(crate) voluntary_switches: u64,
    /// How often somebody else had its turn.
    pub(crate) involuntary_switches: u64,
}

impl Account {
    /// What this very process has spent since it began.
    pub(super) fn of_this_process() -> Result<Self> {
        let usage = getrusage(UsageWho::RUSAGE_SELF).context("ask what this process has used")?;
        Ok(Self {
            // getrusage(2) counts time in ticks where the kernel does; the process's clock always counts nanoseconds.
            cpu_ns: nanoseconds(ClockId::CLOCK_PROCESS_CPUTIME_ID)?,
            voluntary_switches: usage.voluntary_context_switches().unsigned_abs(),
            involuntary_switches: usage.involuntary_context_switches().unsigned_abs(),
        })
    }

    /// What was spent after `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        // A thread that ended in between has taken its switches along.
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            voluntary_switches: self.voluntary_switches.saturating_sub(earlier.voluntary_switches),
            involuntary_switches: self.involuntary_switches.saturating_sub(earlier.involuntary_switches),
        }
    }

    /// What both have spent.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns + other.cpu_ns,
            voluntary_switches: self.voluntary_switches + other.voluntary_switches,
            involuntary_switches: self.involuntary_switches + other.involuntary_switches,
        }
    }

    /// Context switches of either kind.
    pub(crate) fn switches(self) -> u64 {
        self.voluntary_switches + self.involuntary_switches
    }
}

/// What a clock shows.
pub(crate) fn nanoseconds(clock: ClockId) -> Result<u64> {
    let time = clock_gettime(clock).context("read a processor clock")?;
    Ok(std::time::Duration::from(time).as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_in_the_account_of_this_process() {
        let before = Account::of_this_process().unwrap();
        let began = std::time::Instant::now();
        while began.elapsed().as_millis() < 5 {
            std::hint::spin_loop();
        }
        let spent = Account::of_this_process().unwrap().since(before);
        assert!(spent.cpu_ns > 1_000, "{spent:?}");
    }

    #[test]
    fn accounts_are_added_and_subtracted_part_by_part() {
        let account = |cpu_ns, voluntary_switches, involuntary_switches| Account {
            cpu_ns,
            voluntary_switches,
            involuntary_switches,
        };
        let both = account(5, 3, 2).and(account(10, 1, 1));
        assert_eq!(both, account(15, 4, 3));
        assert_eq!(both.switches(), 7);
        assert_eq!(both.since(account(5, 3, 4)), account(10, 1, 0));
    }
}
