//! The handoff: a note that travels in the kernel from the connecting socket to the accepting socket.
//!
//! It lies in the socket storage of the connecting socket, is *staged* under the connection's four-tuple when
//! the SYN is about to leave, and is *claimed* into the socket storage of the accepted socket.

use crate::address::{Address, Endpoint};

/// What the endpoint of a [`Handoff`] stands for. A socket that expects one role never accepts the other.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Outbound: where the workload wanted to go. Written by the connect hook, read by the instance.
    OriginalDestination = 1,
    /// Inbound: who really called. Written by the instance, shown to the app by the getpeername hook.
    Client = 2,
}

/// The note itself, the value of the socket storage and of the stage.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handoff {
    /// The original destination or the real client, as `role` says.
    pub endpoint: Endpoint,
    /// A [`Role`].
    pub role: u8,
    /// The [`crate::verdict::Reason`] of the verdict that captured the connection.
    pub reason: u8,
    /// Always zero.
    pub padding: u16,
}

/// Key of the stage: one connection on its way between its two sockets, seen from the connecting side.
///
/// The cookie of the network namespace is part of it, because a workload may hold several namespaces in
/// which the same loopback four-tuple exists at the same time.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageKey {
    /// `bpf_get_netns_cookie` of the connecting and of the accepting socket.
    pub netns_cookie: u64,
    /// Address the connecting socket comes from.
    pub source: Address,
    /// Address the connecting socket goes to, after rewriting.
    pub destination: Address,
    /// Port the connecting socket comes from, host byte order.
    pub source_port: u16,
    /// Port the connecting socket goes to, host byte order.
    pub destination_port: u16,
    /// Always zero.
    pub padding: u32,
}

crate::map_memory!(Handoff = 24, StageKey = 48);
