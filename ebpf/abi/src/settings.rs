//! What the programs are told about their workload.
//!
//! There are two generations, like those of the rules: the agent fills the idle one and then makes it active
//! with one 4-byte write, so that a program never sees half of a change.

use crate::address::Address;

/// How many loopback listener ports share the captured IPv6 connections.
///
/// IPv6 has one loopback address and no range to own, so that the ports widen the space of four-tuples instead.
pub const OUTBOUND6_PORTS: usize = 8;

/// What to do with captured connections while no instance stands.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Refuse them.
    Closed = 0,
    /// Let them pass uncaptured, counted as [`crate::verdict::Reason::FailOpen`].
    Open = 1,
}

/// One generation of settings.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Id of the cgroup whose tasks are the instance itself; 0 where the instance lives outside the workload's cgroup.
    pub instance_cgroup: u64,
    /// Source address to give captured IPv4 sockets that have none (network byte order); 0 leaves the choice to the kernel.
    pub source4: u32,
    /// First address that captured IPv4 connections are rewritten to, network byte order.
    pub outbound4: u32,
    /// How many low bits of the rewritten address vary with the original destination, as a mask in host byte order.
    pub outbound4_mask: u32,
    /// Source address to give captured IPv6 sockets that have none; all zero leaves the choice to the kernel.
    pub source6: Address,
    /// Port of the outbound IPv4 listener, host byte order; 0 while there is none.
    pub outbound4_port: u16,
    /// Ports of the outbound IPv6 listeners on `::1`, host byte order.
    pub outbound6_ports: [u16; OUTBOUND6_PORTS],
    /// Ports at which the instance listens for inbound connections, IPv4 and IPv6.
    pub inbound_ports: [u16; 2],
    /// The port at the workload's addresses that is the tunnel's, host byte order; 0 where no tunnels are served.
    pub tunnel_port: u16,
    /// [`crate::verdict::Verdict`] for destinations that no rule matches.
    pub default_verdict: u8,
    /// The errno that a denied `connect()` fails with.
    pub deny_errno: u8,
    /// An [`OnFailure`].
    pub on_failure: u8,
    /// 1 once these settings were written, so that an empty map is told from a filled one.
    pub settled: u8,
}

/// Who serves a workload; changes hands when a new process takes over.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Random, made anew by every process; a process that reads another token has been superseded.
    pub token: u64,
    /// [`crate::ABI_VERSION`] of the writer.
    pub abi_version: u32,
    /// Process id of the writer in its own pid namespace, for people.
    pub pid: u32,
}

/// Where the attached programs of a workload come from. A process that finds its own origin here need not load them again.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Digest of the object file that all of them were loaded from; 0 while some are being replaced.
    pub object: u64,
    /// The kernel's id of the [`crate::maps::HANDOFFS`] that they use, which may be the node's.
    pub handoffs: u32,
    /// Always zero.
    pub padding: u32,
}

crate::map_memory!(Settings = 64, Owner = 16, Origin = 16);
