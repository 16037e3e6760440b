//! The names and sizes of all maps. Kernel names are cut at 15 characters, so that names stay below.

use crate::settings::OUTBOUND6_PORTS;

/// Array of one `u32`: the generation of settings, rules and ports that is valid.
pub const ACTIVE: &str = "ACTIVE";
/// Array of two [`crate::settings::Settings`], by generation.
pub const SETTINGS: &str = "SETTINGS";
/// Array of one [`crate::settings::Owner`].
pub const OWNERS: &str = "OWNERS";
/// Longest-prefix trie from [`crate::rules::RuleKey`] to [`crate::rules::RuleValue`].
pub const RULES: &str = "RULES";
/// Hash from [`crate::rules::PortTableKey`] to [`crate::rules::PortTable`].
pub const PORT_TABLES: &str = "PORT_TABLES";
/// Hash whose keys are the addresses of the workload's namespace.
pub const OWN_ADDRESSES: &str = "OWN_ADDRESSES";
/// Array of `u64` words: a bit per inbound port and generation.
pub const INBOUND_PORTS: &str = "INBOUND_PORTS";
/// Array of `u64` words: a bit per captured inbound port that takes no plain text at all, and generation.
pub const REFUSED_PORTS: &str = "REFUSED_PORTS";
/// Socket storage of [`crate::handoff::Handoff`].
pub const HANDOFFS: &str = "HANDOFFS";
/// Hash from [`crate::handoff::StageKey`] to [`crate::handoff::Handoff`].
pub const STAGE: &str = "STAGE";
/// Hash from the cookie of a network namespace to the [`STAGE`] of the workload that lives there.
pub const STAGES: &str = "STAGES";
/// Array of one [`crate::settings::Origin`].
pub const ORIGIN: &str = "ORIGIN";
/// Sockmap of the instance's listeners, by [`ListenerSlot`].
pub const LISTENERS: &str = "LISTENERS";
/// Per-CPU array of `u64`, by [`crate::verdict::verdict_counter`] and [`crate::verdict::Tally`].
pub const COUNTERS: &str = "COUNTERS";
/// Ring buffer of [`crate::event::Denial`].
pub const DENIALS: &str = "DENIALS";

/// Every map of one workload.
pub const OF_WORKLOAD: [&str; 14] = [
    ACTIVE,
    SETTINGS,
    OWNERS,
    ORIGIN,
    RULES,
    PORT_TABLES,
    OWN_ADDRESSES,
    INBOUND_PORTS,
    REFUSED_PORTS,
    HANDOFFS,
    STAGE,
    LISTENERS,
    COUNTERS,
    DENIALS,
];

/// Most prefixes in one set of rules.
pub const RULES_CAPACITY: usize = 131_072;
/// Most port tables in one set of rules.
pub const PORT_TABLES_CAPACITY: usize = 4_096;
/// Most addresses of one namespace.
pub const OWN_ADDRESSES_CAPACITY: usize = 1_024;
/// What the workloads of a node and the agent that serves them have in common.
pub const OF_NODE: [&str; 4] = [STAGES, HANDOFFS, OWNERS, COUNTERS];

/// Most connections of one workload between their SYN and their acceptance.
pub const STAGE_CAPACITY: usize = 32_768;
/// As much of a workload that shares its agent with others: what a listener's queue holds by default, and room in the kernel for
/// hundreds of workloads.
pub const STAGE_CAPACITY_ON_NODE: usize = 4_096;
/// Most workloads of one node.
pub const STAGES_CAPACITY: usize = 4_096;
/// Bytes of the denial ring buffer: a multiple of every page size in use, and a power of two.
pub const DENIALS_BYTES: usize = 65_536;
/// The same for each workload of a node, or one page where pages are larger: the agent maps twice as much for each of hundreds.
pub const DENIALS_BYTES_ON_NODE: usize = 8_192;
/// Words of 64 ports in one generation of [`INBOUND_PORTS`] and [`REFUSED_PORTS`].
pub const INBOUND_PORT_WORDS: u32 = 65_536 / 64;

/// Where each listener lies in [`LISTENERS`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerSlot {
    /// Accepts captured outbound IPv4 connections.
    Outbound4 = 0,
    /// Accepts captured outbound IPv6 connections; the first of [`OUTBOUND6_PORTS`].
    Outbound6 = 1,
    /// Accepts inbound IPv4 connections.
    Inbound4 = 1 + OUTBOUND6_PORTS as u32,
    /// Accepts inbound IPv6 connections.
    Inbound6 = 2 + OUTBOUND6_PORTS as u32,
    /// Accepts tunnels over IPv4.
    Tunnel4 = 3 + OUTBOUND6_PORTS as u32,
    /// Accepts tunnels over IPv6.
    Tunnel6 = 4 + OUTBOUND6_PORTS as u32,
}

/// Slots of [`LISTENERS`].
pub const LISTENERS_CAPACITY: usize = 5 + OUTBOUND6_PORTS;
