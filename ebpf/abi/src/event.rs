//! What the programs tell userspace as it happens.

use crate::address::Endpoint;

/// A `connect()` was refused.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Thread group id of the caller, in the initial pid namespace.
    pub pid: u32,
    /// Where it wanted to go.
    pub destination: Endpoint,
    /// A [`crate::verdict::Reason`].
    pub reason: u8,
    /// The errno that it got.
    pub errno: u8,
    /// Always zero.
    pub padding: u16,
}

crate::map_memory!(Denial = 28);
