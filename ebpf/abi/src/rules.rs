//! The longest-prefix tables: prefix → verdict, or → a table of port ranges.
//!
//! One trie serves both directions and both generations of the rules: the number of the *set* is the first word of the key,
//! so that new rules are written beside the old ones and become valid with a single write of the active generation.
//! The prefix is that of the other side (outbound: where to; inbound: who calls), the port that of the destination.

use crate::address::Address;
use crate::verdict::Direction;

/// Bits of [`RuleKey`] before the address: the number of the set.
pub const SET_BITS: u32 = 32;

/// How many sets of rules lie side by side.
pub const SETS: usize = 4;

/// The number of the set of `generation` (0 or 1) and `direction`.
#[inline(always)]
#[must_use]
pub const fn set(generation: u32, direction: Direction) -> u32 {
    generation | (direction as u32) << 1
}

/// The generation that a set belongs to.
#[must_use]
pub const fn generation_of(set: u32) -> u32 {
    set & 1
}

/// What the trie matches on. The prefix length in front of it (aya's `Key`) counts [`SET_BITS`] too.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleKey {
    /// From [`set`].
    pub set: u32,
    /// The other side, IPv4 in mapped form (its prefix length counts 96 more).
    pub address: Address,
}

/// Value of the trie.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleValue {
    /// The [`crate::verdict::Verdict`] if `port_table` is [`NO_PORT_TABLE`].
    pub verdict: u8,
    /// Its [`crate::verdict::Reason`].
    pub reason: u8,
    /// Always zero.
    pub padding: u16,
    /// Which [`PortTable`] decides, or [`NO_PORT_TABLE`].
    pub port_table: u32,
}

/// Value of [`RuleValue::port_table`] that says the prefix has one verdict for all ports.
pub const NO_PORT_TABLE: u32 = 0;

/// Key of a port table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortTableKey {
    /// From [`set`].
    pub set: u32,
    /// From [`RuleValue::port_table`].
    pub table: u32,
}

/// Most port ranges that one prefix can have.
pub const PORT_RANGES: usize = 16;

/// One range of ports and its verdict.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    /// First port, host byte order.
    pub first: u16,
    /// Last port, inclusive. Unused entries have `first` > `last`.
    pub last: u16,
    /// A [`crate::verdict::Verdict`].
    pub verdict: u8,
    /// A [`crate::verdict::Reason`].
    pub reason: u8,
    /// Always zero.
    pub padding: u16,
}

/// Disjoint port ranges that cover all ports of a prefix.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortTable {
    /// Unused entries at the end match no port.
    pub ranges: [PortRange; PORT_RANGES],
}

impl PortRange {
    /// An entry that matches no port.
    pub const UNUSED: Self = Self { first: 1, last: 0, verdict: 0, reason: 0, padding: 0 };
}

crate::map_memory!(RuleKey = 20, RuleValue = 8, PortTableKey = 8, PortRange = 8, PortTable = 128);

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_generation_and_direction_has_a_set_of_its_own() {
        let mut seen = BTreeSet::new();
        for generation in [0, 1] {
            for direction in Direction::ALL {
                let set = set(generation, direction);
                assert_eq!(generation_of(set), generation);
                assert!(seen.insert(set), "two meanings for one set");
            }
        }
        assert_eq!(seen.len(), SETS);
    }
}
