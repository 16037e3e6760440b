//! The longest-prefix tables: destination prefix → verdict, or → a table of port ranges.
//!
//! One trie serves both generations of the rules: the generation is the first word of the key, so that a new
//! set of rules is written beside the old one and becomes valid with a single write of the active generation.

use crate::address::Address;

/// Bits of [`RuleKey`] before the address: the generation.
pub const GENERATION_BITS: u32 = 32;

/// What the trie matches on. The prefix length in front of it (aya's `Key`) counts [`GENERATION_BITS`] too.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleKey {
    /// 0 or 1.
    pub generation: u32,
    /// Destination, IPv4 in mapped form (its prefix length counts 96 more).
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
    /// 0 or 1.
    pub generation: u32,
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
