//! Labels with their numbers: found without a lock, added under one, never removed.

use std::iter;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Chains; with as many sets of labels as there may be, two in each.
const CHAINS: usize = 2048;

/// A table that only grows.
#[derive(Debug)]
pub(super) struct Table<L, N> {
    /// Made when the first entry is.
    chains: OnceLock<Box<[Link<L, N>]>>,
    adding: Mutex<()>,
}

type Link<L, N> = OnceLock<Box<Entry<L, N>>>;

#[derive(Debug)]
struct Entry<L, N> {
    hash: u64,
    labels: L,
    numbers: N,
    next: Link<L, N>,
}

impl<L, N> Default for Table<L, N> {
    fn default() -> Self {
        Self { chains: OnceLock::new(), adding: Mutex::new(()) }
    }
}

impl<L, N: Default> Table<L, N> {
    /// The numbers of the labels that `are` what is looked for, or new ones if `make` allows them.
    pub(super) fn find_or_insert(
        &self,
        hash: u64,
        are: impl Fn(&L) -> bool,
        make: impl FnOnce() -> Option<L>,
    ) -> Option<&N> {
        let chains = self.chains.get_or_init(|| iter::repeat_with(OnceLock::new).take(CHAINS).collect());
        // In range by the modulo.
        let mut link = &chains[(hash % CHAINS as u64) as usize];
        let mut adding = None;
        loop {
            match link.get() {
                Some(entry) if entry.hash == hash && are(&entry.labels) => return Some(&entry.numbers),
                Some(entry) => link = &entry.next,
                // Another thread may have added it in between: look again under the lock.
                None if adding.is_none() => {
                    adding = Some(self.adding.lock().unwrap_or_else(PoisonError::into_inner));
                }
                None => break,
            }
        }
        let entry = Entry { hash, labels: make()?, numbers: N::default(), next: OnceLock::new() };
        Some(&link.get_or_init(|| Box::new(entry)).numbers)
    }
}

impl<L, N> Table<L, N> {
    /// How many chains [`Self::chain`] knows: none before there is an entry.
    pub(super) fn chains(&self) -> usize {
        self.chains.get().map_or(0, |chains| chains.len())
    }

    /// The entries of one chain.
    pub(super) fn chain(&self, index: usize) -> impl Iterator<Item = (&L, &N)> {
        let first = self.chains.get().and_then(|chains| chains.get(index)?.get());
        iter::successors(first, |entry| entry.next.get()).map(|entry| (&entry.labels, &entry.numbers))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn count(table: &Table<u64, AtomicU64>, label: u64, hash: u64) {
        table
            .find_or_insert(hash, |known| *known == label, || Some(label))
            .unwrap()
            .fetch_add(1, Ordering::Relaxed);
    }

    fn all(table: &Table<u64, AtomicU64>) -> Vec<(u64, u64)> {
        let mut all: Vec<_> = (0..table.chains())
            .flat_map(|chain| table.chain(chain))
            .map(|(label, count)| (*label, count.load(Ordering::Relaxed)))
            .collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn entries_of_one_hash_are_told_apart_by_their_labels() {
        let table = Table::default();
        assert_eq!(all(&table), []);
        for label in [1, 2, 1, 3, 1] {
            count(&table, label, 7);
        }
        assert_eq!(all(&table), [(1, 3), (2, 1), (3, 1)]);
    }

    #[test]
    fn what_may_not_be_added_is_not_there() {
        let table = Table::<u64, AtomicU64>::default();
        assert!(table.find_or_insert(1, |_| true, || None).is_none());
        count(&table, 5, 1);
        assert!(table.find_or_insert(1, |known| *known == 5, || None).is_some());
    }

    #[test]
    fn threads_that_add_the_same_at_once_add_it_once() {
        let table = Table::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|number| count(&table, number % 100, number % 10)));
            }
        });
        assert_eq!(all(&table), (0..100).map(|label| (label, 400)).collect::<Vec<_>>());
    }
}
