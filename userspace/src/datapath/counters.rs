//! The kernel's counters, summed over all CPUs.

use anyhow::Result;
use aya::maps::PerCpuArray;
use sidestep_abi::maps::COUNTERS;
use sidestep_abi::verdict::{Tally, verdict_counter};

use crate::datapath::object::{Maps, Owned};
use crate::model::{Direction, Reason, Verdict};

/// The counters of one workload.
pub struct Counters {
    slots: PerCpuArray<Owned, u64>,
}

/// One reading. Every count is since the maps were made: a restarted instance that adopts them goes on counting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Verdicts that were given at least once.
    pub verdicts: Vec<(Direction, Verdict, Reason, u64)>,
    /// Handoffs claimed.
    pub captures: u64,
    /// Handoffs taken back unclaimed.
    pub withdrawn: u64,
    /// Denial events lost.
    pub events_lost: u64,
}

impl Counters {
    pub(super) fn new(maps: &Maps) -> Result<Self> {
        Ok(Self { slots: maps.typed(COUNTERS)? })
    }

    /// Reads all counters.
    ///
    /// # Errors
    /// Those of the map look-ups.
    pub fn read(&self) -> Result<Counts> {
        let mut counts = Counts::default();
        for direction in Direction::ALL {
            for verdict in Verdict::ALL {
                for reason in Reason::ALL {
                    let count = self.slot(verdict_counter(direction, verdict, reason))?;
                    if count > 0 {
                        counts.verdicts.push((direction, verdict, reason, count));
                    }
                }
            }
        }
        counts.captures = self.slot(Tally::Captures as u32)?;
        counts.withdrawn = self.slot(Tally::Withdrawn as u32)?;
        counts.events_lost = self.slot(Tally::EventsLost as u32)?;
        Ok(counts)
    }

    fn slot(&self, index: u32) -> Result<u64> {
        Ok(self.slots.get(&index, 0)?.iter().sum())
    }
}
