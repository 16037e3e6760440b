//! How workloads share a room that is bounded: nobody may have more waiting in it than is left for all the others.
//!
//! One alone gets half of it, two that are noisy a third each, and somebody quiet always finds room. Nothing is set apart
//! in advance, so that it is the same for one workload and for hundreds.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::teller::Teller;

/// A workload, as far as its share is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner(pub(super) usize);

impl Owner {
    /// By its place in memory, which is its own for as long as something of it waits.
    pub(super) fn of(teller: &Arc<Teller>) -> Self {
        Self(Arc::as_ptr(teller).addr())
    }
}

/// So many things with so many bytes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) items: usize,
    pub(super) bytes: usize,
}

/// What of a room is taken, and by whom.
#[derive(Debug, Default)]
pub(super) struct Shares {
    taken: Amount,
    of: HashMap<Owner, Amount, RandomState>,
}

impl Shares {
    /// Takes place for one thing of so many bytes, if there is any left of `room`. Whether there was.
    pub(super) fn take(&mut self, room: Amount, owner: Owner, bytes: usize) -> bool {
        let mine = self.of.get(&owner).copied().unwrap_or_default();
        let fits = |mine: usize, taken: usize, more: usize, room: usize| {
            room.checked_sub(taken + more).is_some_and(|left| mine + more <= left)
        };
        let fits = fits(mine.items, self.taken.items, 1, room.items)
            && fits(mine.bytes, self.taken.bytes, bytes, room.bytes);
        if fits {
            for amount in [&mut self.taken, self.of.entry(owner).or_default()] {
                amount.items += 1;
                amount.bytes += bytes;
            }
        }
        fits
    }

    /// Gives the place of one thing back.
    pub(super) fn give_back(&mut self, owner: Owner, bytes: usize) {
        if let Some(mine) = self.of.get_mut(&owner) {
            for amount in [&mut self.taken, &mut *mine] {
                amount.items -= 1;
                amount.bytes -= bytes;
            }
            if mine.items == 0 {
                self.of.remove(&owner);
            }
        }
    }

    /// What is taken in all.
    pub(super) const fn taken(&self) -> Amount {
        self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Amount = Amount { items: 120, bytes: 1200 };

    /// How many things this one can still leave.
    fn fill(shares: &mut Shares, owner: usize, bytes: usize) -> usize {
        (0..).take_while(|_| shares.take(ROOM, Owner(owner), bytes)).count()
    }

    #[test]
    fn whoever_is_noisy_leaves_room_for_the_others() {
        let mut shares = Shares::default();
        assert_eq!(fill(&mut shares, 1, 0), 60);
        assert_eq!(fill(&mut shares, 2, 0), 30);
        assert_eq!(fill(&mut shares, 3, 0), 15);
        for _ in 0..60 {
            shares.give_back(Owner(1), 0);
        }
        assert_eq!(fill(&mut shares, 3, 0), 30, "as much as is left then");
    }

    #[test]
    fn bytes_are_shared_as_places_are() {
        let mut shares = Shares::default();
        assert_eq!(fill(&mut shares, 1, 100), 6);
        assert_eq!(fill(&mut shares, 2, 1), 57, "what is small still finds room");
        assert_eq!(shares.taken(), Amount { items: 63, bytes: 657 });
    }
}
