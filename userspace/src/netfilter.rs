//! Capture by iptables: REDIRECT rules in the current network namespace, for comparison and for kernels too old.
//!
//! The rules live in chains of our own (`SIDESTEP_OUT` and `SIDESTEP_IN` in nat, `SIDESTEP_DENY` in filter) and are put
//! and removed with the system's `iptables-restore`, a table at a time and thus atomically. Verdicts are those of the
//! policy, most specific rule first. Touches no other namespace, no chain of others beyond one jump into each of ours,
//! and no sysctl. Nothing of this exists in eBPF mode.
//!
//! # What it cannot do
//!
//! - Refuse a `connect()` with `EPERM`: a denied SYN is answered with a reset, which is `ECONNREFUSED`. See
//!   [`Plan::limitations`].
//! - Show the workload the real client of an inbound connection, as the eBPF capture's handoff does.
//! - Hold on to a connection whose conntrack entry is stale: where client ports are reused soon after a restart, some
//!   connections can slip past. The eBPF capture has no such state.
//! - Find a verdict in constant time: rules are tried one after the other.

mod error;
mod family;
mod lock;
mod original;
mod render;
mod tables;

use std::net::IpAddr;

use crate::policy::{Compiled, DenyWith, PortSpan};

pub use error::NetfilterError;
use family::Family;
use lock::Lock;
pub use original::original_destination;

/// What to capture and where to.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the instance accepts captured outbound IPv4 connections: a port on 127.0.0.1 or on all addresses.
    pub outbound_port: u16,
    /// Where it accepts captured outbound IPv6 connections: a port on `::1` or on all addresses. Without it, IPv6
    /// connections that would be captured are refused, since nothing may slip past.
    pub outbound6_port: Option<u16>,
    /// What to capture of the connections that come in; nothing if absent.
    pub inbound: Option<InboundPlan>,
    /// Verdicts by destination.
    pub rules: Compiled,
    /// Whose connections are captured.
    pub scope: Scope,
    /// Addresses of the namespace, to which connections pass. What leaves by the loopback device passes anyway.
    pub own_addresses: Vec<IpAddr>,
    /// How denied connections are to fail; see [`Plan::limitations`].
    pub deny_with: DenyWith,
}

/// What to capture of the connections that come in.
///
/// REDIRECT sends a connection to the address of the device it came in by: the listeners must accept on all addresses.
#[derive(Clone, Debug)]
pub struct InboundPlan {
    /// Where the instance accepts captured IPv4 connections.
    pub port: u16,
    /// Where it accepts captured IPv6 connections. Without it, IPv6 connections to captured ports are refused.
    pub port6: Option<u16>,
    /// The ports that are captured; must not hold those of the instance itself.
    pub ports: Vec<PortSpan>,
    /// Where the instance accepts tunnels, whatever ports are captured; nowhere if absent.
    pub tunnel: Option<TunnelPlan>,
}

/// Where connections to the tunnel's port go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelPlan {
    /// Where the instance accepts them over IPv4.
    pub port: u16,
    /// Where it accepts them over IPv6. Without it, they are refused.
    pub port6: Option<u16>,
}

/// Whose outbound connections are captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of one cgroup and all below it: its path below the root of the cgroup2 hierarchy (`-m cgroup --path`).
    Cgroup(String),
    /// Those of the whole network namespace but for the instance's own.
    Namespace {
        /// How the instance's own connections are told from the workload's.
        exempt: Exempt,
    },
}

/// How the instance's own connections are told from the workload's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exempt {
    /// By the cgroup that it lives in, which the workload cannot forge.
    Cgroup(String),
    /// By a mark on its sockets (`SO_MARK`), which whoever has `CAP_NET_ADMIN` or `CAP_NET_RAW` can forge.
    Mark(u32),
}

impl Plan {
    /// What these rules cannot do as configured, in sentences for a log.
    #[must_use]
    pub fn limitations(&self) -> Vec<&'static str> {
        let mut limitations = Vec::new();
        if self.deny_with == DenyWith::NotPermitted {
            limitations.push(
                "denied connections fail with ECONNREFUSED, not EPERM: netfilter cannot refuse connect() with EPERM",
            );
        }
        if self.rules.denies() {
            limitations.push(
                "what is not TCP passes wherever it goes: only the capture by ebpf holds UDP to the outbound rules",
            );
        }
        if matches!(self.scope, Scope::Namespace { exempt: Exempt::Mark(_) }) {
            limitations.push(
                "the proxy is exempt by a socket mark, which privileged code in the workload can forge",
            );
        }
        limitations
    }
}

/// Rules that are in place. Dropping them removes them as far as that is possible.
#[derive(Debug)]
pub struct Redirects {
    place: Option<Lock>,
}

/// Puts the rules for a plan into the current network namespace; what a process that is gone left there is replaced.
///
/// Blocks while other programs hold the tables' lock, up to 10 s.
///
/// # Errors
///
/// See [`NetfilterError`]. Nothing is left in place then.
pub fn install(plan: &Plan) -> Result<Redirects, NetfilterError> {
    render::check(plan)?;
    let lock = Lock::take()?;
    remove_from(&Family::present())?;
    // From here on, dropping undoes.
    let redirects = Redirects { place: Some(lock) };
    for family in Family::present() {
        tables::restore(family, "put the rules", &render::install(plan, family))?;
    }
    Ok(redirects)
}

/// Removes what a process that is gone left in the current network namespace, and says whether there was anything.
///
/// # Errors
///
/// See [`NetfilterError`]; rules of a process that lives are [`NetfilterError::Taken`].
pub fn remove() -> Result<Found, NetfilterError> {
    let _lock = Lock::take()?;
    remove_from(&Family::present())
}

/// Says whether there are rules of ours in the current network namespace, whosever they are.
///
/// # Errors
///
/// See [`NetfilterError`].
pub fn find() -> Result<Found, NetfilterError> {
    let mut found = Found::Nothing;
    for family in Family::present() {
        if !render::removal(&tables::save(family)?).is_empty() {
            found = Found::Rules;
        }
    }
    Ok(found)
}

/// Whether there were rules of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There were none.
    Nothing,
    /// There were some.
    Rules,
}

impl Redirects {
    /// Makes the rules in place those of another plan. No connection slips past on the way: for a moment those that
    /// either plan denies are denied.
    ///
    /// # Errors
    ///
    /// See [`NetfilterError`]. The old rules are in place then, or a mixture that denies what either plan denies.
    pub fn update(&self, plan: &Plan) -> Result<(), NetfilterError> {
        render::check(plan)?;
        for family in Family::present() {
            for step in render::update(plan, family, &tables::save(family)?) {
                tables::restore(family, "change the rules", &step)?;
            }
        }
        Ok(())
    }

    /// Removes the rules.
    ///
    /// # Errors
    ///
    /// See [`NetfilterError`]. Then [`remove`] can be tried again.
    pub fn remove(mut self) -> Result<(), NetfilterError> {
        let _lock = self.place.take();
        remove_from(&Family::present()).map(drop)
    }
}

impl Drop for Redirects {
    fn drop(&mut self) {
        if let Some(_lock) = self.place.take()
            && let Err(error) = remove_from(&Family::present())
        {
            tracing::warn!(%error, "cannot remove the iptables rules; `sidestep cleanup` tries again");
        }
    }
}

/// Removes our rules, whosever they are. Tries every family before it fails.
fn remove_from(families: &[Family]) -> Result<Found, NetfilterError> {
    let mut outcome = Ok(Found::Nothing);
    for &family in families {
        let removed = tables::save(family).and_then(|saved| {
            let removal = render::removal(&saved);
            if removal.is_empty() {
                return Ok(Found::Nothing);
            }
            tables::restore(family, "remove the rules", &removal).map(|()| Found::Rules)
        });
        outcome = match (outcome, removed) {
            (Ok(Found::Nothing), removed) => removed,
            (Ok(Found::Rules), Ok(_)) => Ok(Found::Rules),
            (Ok(Found::Rules), Err(error)) | (Err(error), _) => Err(error),
        };
    }
    outcome
}
