//! Capture by iptables: the same listeners and the same instance, reached by REDIRECT rules.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use anyhow::{Context, Result, bail};

use crate::agent::listeners::{Inbound, Listeners, port};
use crate::agent::scope;
use crate::config::Config;
use crate::model::{ClientAddr, OriginalDst, OwnAddresses, Reason};
use crate::netfilter::{self, Exempt, InboundPlan, Plan, Redirects, Scope, TunnelPlan};
use crate::policy::Rules;
use crate::proxy::Handoffs;
use crate::sys::addresses;
use crate::sys::cgroup::Cgroup;

/// Rules that are in place, or about to be.
pub(super) struct IptablesCapture {
    outbound_port: u16,
    outbound6_port: Option<u16>,
    /// IPv4 and IPv6.
    inbound: Option<(u16, Option<u16>)>,
    tunnel: Option<TunnelPlan>,
    scope: Scope,
    /// Those of the workload.
    addresses: OwnAddresses,
    redirects: Mutex<Option<Redirects>>,
    rules: Arc<RwLock<Rules>>,
}

impl IptablesCapture {
    pub(super) fn prepare(
        config: &Config,
        scope: &scope::Scope<'_>,
        listeners: &Listeners,
        addresses: OwnAddresses,
    ) -> Result<Self> {
        let below_root = |cgroup: &Cgroup| cgroup.below_mount(config.capture.cgroup_mount.as_deref());
        let scope = match scope {
            scope::Scope::Run(cgroups) => Scope::Cgroup(below_root(&cgroups.workload)?),
            scope::Scope::Here => bail!(scope::NOTHING_TO_CAPTURE),
            scope::Scope::Enrolled(_) => {
                bail!("expected capture.mode ebpf for the pods of a node, found iptables")
            }
            scope::Scope::Pod(pod) => Scope::Namespace { exempt: Exempt::Cgroup(below_root(&pod.own)?) },
        };
        let ports = |listeners: &Option<Inbound>| listeners.as_ref().map(Inbound::ports).transpose();
        let tunnel = ports(&listeners.tunnel)?.map(|(port, port6)| TunnelPlan { port, port6 });
        Ok(Self {
            outbound_port: port(&listeners.outbound4)?,
            outbound6_port: listeners.outbound6.first().map(port).transpose()?,
            inbound: ports(&listeners.inbound)?,
            tunnel,
            scope,
            addresses,
            redirects: Mutex::default(),
            rules: Arc::new(RwLock::new(config.outbound.rules.clone())),
        })
    }

    /// The addresses of the workload, as they were listed last.
    pub(super) const fn addresses(&self) -> &OwnAddresses {
        &self.addresses
    }

    /// Where the instance asks for original destinations.
    pub(super) fn handoffs(&self) -> Arc<dyn Handoffs> {
        Arc::new(Conntrack(Arc::clone(&self.rules)))
    }

    /// Puts the rules of a configuration in place of those that were there.
    pub(super) fn publish(&self, config: &Config) -> Result<()> {
        let plan = self.plan(config)?;
        let mut redirects = self.redirects.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *redirects {
            Some(redirects) => redirects.update(&plan)?,
            None => {
                for limitation in plan.limitations() {
                    tracing::warn!("{limitation}");
                }
                *redirects = Some(netfilter::install(&plan)?);
            }
        }
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = config.outbound.rules.clone();
        Ok(())
    }

    /// Removes the rules.
    pub(super) fn remove(self) -> Result<()> {
        match self.redirects.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(redirects) => Ok(redirects.remove()?),
            None => Ok(()),
        }
    }

    fn plan(&self, config: &Config) -> Result<Plan> {
        Ok(Plan {
            outbound_port: self.outbound_port,
            outbound6_port: self.outbound6_port,
            inbound: self.inbound.map(|(port, port6)| InboundPlan {
                port,
                port6,
                ports: config.inbound_ports().spans().to_vec(),
                tunnel: self.tunnel,
            }),
            rules: config.outbound.rules.compile()?,
            scope: self.scope.clone(),
            own_addresses: addresses::own().context("list the addresses of the network namespace")?,
            deny_with: config.outbound.deny_with,
        })
    }
}

/// Original destinations out of conntrack, both ways. Netfilter does not say which rule steered a connection, so the
/// reason is found by asking the rules again. The real client cannot be handed to the app.
struct Conntrack(Arc<RwLock<Rules>>);

impl Handoffs for Conntrack {
    fn original_destination(&self, accepted: BorrowedFd<'_>) -> io::Result<Option<(OriginalDst, Reason)>> {
        let reason = |original: &OriginalDst| {
            self.0.read().unwrap_or_else(PoisonError::into_inner).decide(original.0).1
        };
        Ok(netfilter::original_destination(accepted)?.map(|original| (original, reason(&original))))
    }

    fn inbound_destination(
        &self,
        accepted: BorrowedFd<'_>,
        _local: SocketAddr,
    ) -> io::Result<Option<(OriginalDst, Reason)>> {
        Ok(netfilter::original_destination(accepted)?.map(|original| (original, Reason::Rule)))
    }

    fn leave_client(&self, _dialling: BorrowedFd<'_>, _client: ClientAddr) -> io::Result<()> {
        Ok(())
    }
}
