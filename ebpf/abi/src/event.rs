//! What the programs tell userspace as it happens.

use crate::address::Endpoint;

/// A connection, a datagram or a socket was refused.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Outbound: thread group id of the caller, in the initial pid namespace. Inbound: 0.
    pub pid: u32,
    /// Where it wanted to go; all zero of a socket that was not to be.
    pub destination: Endpoint,
    /// Inbound: who called. Outbound: all zero.
    pub client: Endpoint,
    /// A [`crate::verdict::Reason`].
    pub reason: u8,
    /// Outbound: the errno that the caller got. Inbound: 0, for what it got was a reset.
    pub errno: u8,
    /// A [`crate::verdict::Direction`].
    pub direction: u8,
    /// The low byte of its `IPPROTO_…`; that of TCP for MPTCP.
    pub protocol: u8,
}

crate::map_memory!(Denial = 48);
