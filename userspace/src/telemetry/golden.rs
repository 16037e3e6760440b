//! The golden metrics, with the names and labels of Istio, so that its dashboards work.
//!
//! Kept apart from the other metrics because of their number: a workload that calls a thousand others has tens of
//! thousands of samples. They are one table of label sets with plain numbers behind it; text is made of it piece by piece
//! while somebody reads it, and never as a whole.
//!
//! Label values come from closed sets, from the configuration and from certificates, never from a request. There are at
//! most [`MOST_SETS`] sets of them; what comes after is counted in one set that says so.

mod labels;
mod numbers;
mod table;
mod text;

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use foldhash::fast::RandomState;

use super::summary::Requests as Summed;
use super::workload::Own;
use crate::model::{Ended, Exchange, Tier};
use labels::{Labels, View};
pub(super) use numbers::BOUNDS;
use numbers::{Connections, Requests};
use table::Table;
pub(super) use text::{Family, Position};

/// Most sets of labels of one workload, requests and connections together.
pub(super) const MOST_SETS: usize = 4096;

/// The golden metrics of one workload.
#[derive(Debug)]
pub(super) struct Golden {
    own: Own,
    hashing: RandomState,
    requests: Table<Labels, Requests>,
    connections: Table<Labels, Connections>,
    /// What has no set of its own.
    overflow: (Requests, Connections),
    sets: AtomicUsize,
    overflowed: AtomicU64,
}

impl Golden {
    /// Those of this workload, none yet.
    pub(super) fn new(own: Own) -> Self {
        Self {
            own,
            hashing: RandomState::default(),
            requests: Table::default(),
            connections: Table::default(),
            overflow: (Requests::default(), Connections::default()),
            sets: AtomicUsize::new(0),
            overflowed: AtomicU64::new(0),
        }
    }

    /// A request is over.
    pub(super) fn exchanged(&self, exchange: &Exchange) {
        let view = View::of_exchange(exchange);
        self.count(&self.requests, &self.overflow.0, &view).add(exchange);
    }

    /// A connection is over that was carried without being looked into.
    pub(super) fn ended(&self, ended: &Ended) {
        if matches!(ended.tier, Tier::Relay | Tier::Tunnel) {
            let view = View::of_ended(ended);
            self.count(&self.connections, &self.overflow.1, &view).add(ended);
        }
    }

    /// How many were counted without labels of their own.
    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// All requests in sum.
    pub(super) fn requests(&self) -> Summed {
        let mut summed = Summed::default();
        let chains = 0..self.requests.chains();
        for (labels, requests) in chains.flat_map(|chain| self.requests.chain(chain)) {
            let within = requests.duration.buckets();
            let count: u64 = within.iter().sum();
            summed.count += count;
            summed.failed += if labels.failed() { count } else { 0 };
            summed.denied += if labels.denied() { count } else { 0 };
            summed.within.iter_mut().zip(within).for_each(|(sum, count)| *sum += count);
        }
        let overflow = self.overflow.0.duration.buckets();
        summed.count += overflow.iter().sum::<u64>();
        summed.within.iter_mut().zip(overflow).for_each(|(sum, count)| *sum += count);
        summed
    }

    /// The numbers for these labels, made at first sight.
    fn count<'a, N: Default>(&self, table: &'a Table<Labels, N>, overflow: &'a N, view: &View<'_>) -> &'a N {
        let hash = self.hashing.hash_one(view);
        let found = table.find_or_insert(hash, |labels| labels.are(view), || self.admit(view));
        found.unwrap_or_else(|| {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            overflow
        })
    }

    fn admit(&self, view: &View<'_>) -> Option<Labels> {
        let room = |sets| (sets < MOST_SETS).then_some(sets + 1);
        self.sets.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(view.to_labels())
    }
}

#[cfg(test)]
mod tests;
