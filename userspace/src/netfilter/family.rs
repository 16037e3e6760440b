//! IPv4 and IPv6: the same rules in two sets of tables, by two sets of programs.

use std::net::IpAddr;
use std::path::Path;

use super::{InboundPlan, Plan, TunnelPlan};

/// One of the two sets of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// The families that the kernel has.
    pub(super) fn present() -> Vec<Self> {
        let v6 = Path::new("/proc/net/if_inet6").exists();
        if v6 { vec![Self::V4, Self::V6] } else { vec![Self::V4] }
    }

    pub(super) const fn restore_program(self) -> &'static str {
        match self {
            Self::V4 => "iptables-restore",
            Self::V6 => "ip6tables-restore",
        }
    }

    pub(super) const fn save_program(self) -> &'static str {
        match self {
            Self::V4 => "iptables-save",
            Self::V6 => "ip6tables-save",
        }
    }

    /// What is local whatever the device.
    pub(super) const fn loopback(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.0/8",
            Self::V6 => "::1/128",
        }
    }

    /// Whether an address belongs to these tables.
    pub(super) const fn has(self, ip: IpAddr) -> bool {
        matches!((self, ip), (Self::V4, IpAddr::V4(_)) | (Self::V6, IpAddr::V6(_)))
    }

    /// Where captured outbound connections go.
    pub(super) const fn outbound_port(self, plan: &Plan) -> Option<u16> {
        match self {
            Self::V4 => Some(plan.outbound_port),
            Self::V6 => plan.outbound6_port,
        }
    }

    /// Where captured inbound connections go.
    pub(super) const fn inbound_port(self, inbound: &InboundPlan) -> Option<u16> {
        match self {
            Self::V4 => Some(inbound.port),
            Self::V6 => inbound.port6,
        }
    }

    /// Where tunnels go.
    pub(super) const fn tunnel_port(self, tunnel: &TunnelPlan) -> Option<u16> {
        match self {
            Self::V4 => Some(tunnel.port),
            Self::V6 => tunnel.port6,
        }
    }
}
