//! How connections get from the workload's sockets to the instance: by eBPF, by iptables, or not at all.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::{future, io};

use anyhow::{Context, Result, bail};

use crate::agent::ebpf::{self, EbpfCapture, Fixed, Targets};
use crate::agent::iptables::IptablesCapture;
use crate::agent::listeners::{Listeners, Steering};
use crate::agent::scope::{NOTHING_TO_CAPTURE, Scope};
use crate::config::{CaptureMode, Config};
use crate::datapath::{self, Counters, Datapath, Denials, Place, Stage};
use crate::lasting::Panics;
use crate::model::{ClientAddr, OriginalDst, OwnAddresses, Reason};
use crate::proxy::Handoffs;
use crate::sys::addresses;
use crate::sys::bpffs::Mounting;

/// A capture that stands, or is about to.
pub(super) enum Capture {
    Ebpf(EbpfCapture),
    Iptables(IptablesCapture),
    /// Nothing is captured; these are the workload's.
    None(OwnAddresses),
}

/// A capture that is ready to begin, and what belongs to it.
pub(super) struct Prepared {
    pub(super) capture: Capture,
    /// Where captured connections are to be accepted.
    pub(super) listeners: Option<Listeners>,
    pub(super) handoffs: Arc<dyn Handoffs>,
    pub(super) kernel: Option<(Counters, Denials)>,
    /// Those of the workload.
    pub(super) addresses: OwnAddresses,
}

impl Capture {
    /// Opens the listeners and brings everything into the kernel; captures nothing yet.
    /// What breaks of what follows changes from then on is counted.
    pub(super) fn prepare(
        config: &Config,
        workload: &str,
        scope: &Scope<'_>,
        panics: &Arc<Panics>,
    ) -> Result<Prepared> {
        match config.capture.mode {
            CaptureMode::Ebpf => prepare_ebpf(config, workload, scope, panics),
            CaptureMode::Iptables => prepare_iptables(config, scope),
            CaptureMode::None => {
                let addresses = OwnAddresses::default();
                list(&addresses);
                Ok(Prepared {
                    capture: Self::None(addresses.clone()),
                    listeners: None,
                    handoffs: Arc::new(NoHandoffs),
                    kernel: None,
                    addresses,
                })
            }
        }
    }

    /// Captures from now on.
    pub(super) fn begin(
        &self,
        config: &Config,
        scope: &Scope<'_>,
        listeners: Option<Listeners>,
    ) -> Result<()> {
        match self {
            Self::Ebpf(capture) => {
                let listeners = listeners.context("expected listeners to steer to, found none")?;
                capture.begin(config, &place(scope)?, |datapath| listeners.steer_to(datapath))
            }
            Self::Iptables(capture) => capture.publish(config),
            Self::None(_) => Ok(()),
        }
    }

    /// Makes the rules of a changed configuration valid.
    pub(super) fn publish(&self, config: &Config) -> Result<()> {
        match self {
            Self::Ebpf(capture) => capture.publish(config),
            Self::Iptables(capture) => capture.publish(config),
            Self::None(_) => Ok(()),
        }
    }

    /// Lists the workload's addresses anew where nobody follows them.
    pub(super) fn list_addresses(&self) {
        match self {
            Self::Ebpf(_) => {}
            Self::Iptables(capture) => list(capture.addresses()),
            Self::None(addresses) => list(addresses),
        }
    }

    /// Whether no successor has taken over.
    pub(super) fn is_ours(&self) -> bool {
        match self {
            Self::Ebpf(capture) => capture.is_ours(),
            Self::Iptables(_) | Self::None(_) => true,
        }
    }

    /// Resolves when a successor has taken over.
    pub(super) async fn superseded(&self) {
        match self {
            Self::Ebpf(capture) => capture.superseded().await,
            Self::Iptables(_) | Self::None(_) => future::pending().await,
        }
    }

    /// Ends the capture and removes every trace of it.
    pub(super) async fn remove(self) -> Result<()> {
        match self {
            Self::Ebpf(capture) => capture.remove().await,
            Self::Iptables(capture) => capture.remove(),
            Self::None(_) => Ok(()),
        }
    }
}

fn prepare_ebpf(
    config: &Config,
    workload: &str,
    scope: &Scope<'_>,
    panics: &Arc<Panics>,
) -> Result<Prepared> {
    let network = scope.network();
    let listeners = || Listeners::open_outbound(Steering::Sockmap);
    let for_pod = || for_pod(listeners()?, config, Steering::Sockmap);
    let closed = ebpf::mounting(config.capture.on_failure);
    let (mounting, workload_cgroup, instance_cgroup, stage, listeners) = match scope {
        Scope::Here => bail!(NOTHING_TO_CAPTURE),
        Scope::Run(cgroups) => (Mounting::Allowed, &cgroups.workload, 0, Stage::Own, listeners()?),
        Scope::Pod(pod) => {
            pod.expect_below(std::process::id())?;
            if config.inbound_ports().is_empty() {
                tracing::info!("no inbound port is captured: inbound.ports is none");
            }
            let own = pod.own.id().context("look at our own cgroup")?;
            (closed, &pod.workload, own, Stage::Own, for_pod()?)
        }
        Scope::Enrolled(pod) => {
            let listeners = network.visit(for_pod).context("enter the pod's network namespace")??;
            (closed, &pod.workload, 0, Stage::Shared(&pod.stage), listeners)
        }
    };
    let fixed = Fixed {
        targets: Targets::of(&listeners)?,
        workload: workload_cgroup.clone(),
        instance_cgroup,
        network,
    };
    let handoffs = match stage {
        Stage::Own => None,
        Stage::Shared(stage) => Some(stage.handoffs()),
    };
    let capture = EbpfCapture::prepare(&scope.name(workload)?, mounting, stage, fixed, panics)?;
    let handoffs = handoffs.map_or_else(|| capture.datapath(Datapath::handoffs), Ok)?;
    Ok(Prepared {
        listeners: Some(listeners),
        handoffs: Arc::new(InKernel(handoffs)),
        addresses: capture.addresses(),
        kernel: Some((capture.datapath(Datapath::counters)?, capture.datapath(Datapath::denials)?)),
        capture: Capture::Ebpf(capture),
    })
}

/// Lists the addresses of a workload that lives where we do.
fn list(own: &OwnAddresses) {
    match addresses::own() {
        Ok(addresses) => own.replace(addresses),
        Err(error) => tracing::warn!(
            %error,
            "the workload's own addresses are not known: it does not reach itself by a service"
        ),
    }
}

/// Adds the listeners that others reach: those of a pod, since a command has no address of its own.
fn for_pod(listeners: Listeners, config: &Config, steering: Steering) -> Result<Listeners> {
    let listeners = listeners.with_inbound(steering)?;
    if config.identity.is_some() { listeners.with_tunnel(steering) } else { Ok(listeners) }
}

fn prepare_iptables(config: &Config, scope: &Scope<'_>) -> Result<Prepared> {
    let mut listeners = Listeners::open_outbound(Steering::Redirect)?;
    if let Scope::Pod(_) = scope {
        listeners = for_pod(listeners, config, Steering::Redirect)?;
    }
    let addresses = OwnAddresses::default();
    list(&addresses);
    let capture = IptablesCapture::prepare(config, scope, &listeners, addresses.clone())?;
    Ok(Prepared {
        listeners: Some(listeners),
        handoffs: capture.handoffs(),
        kernel: None,
        addresses,
        capture: Capture::Iptables(capture),
    })
}

/// Where the programs of a scope attach.
fn place(scope: &Scope<'_>) -> Result<Place> {
    Ok(match scope {
        Scope::Here => bail!(NOTHING_TO_CAPTURE),
        Scope::Run(cgroups) => Place {
            workload: cgroups.workload.open().context("open the command's cgroup")?,
            handoff: cgroups.root().open().context("open the cgroup of this run")?,
            inbound: None,
            foreign_proxy: None,
        },
        Scope::Pod(pod) => Place {
            workload: pod.workload.open().context("open the pod-level cgroup")?,
            handoff: pod.workload.open().context("open the pod-level cgroup")?,
            inbound: Some(pod.network_namespace()?),
            foreign_proxy: None,
        },
        Scope::Enrolled(pod) => Place {
            workload: pod.workload.open().context("open the pod-level cgroup")?,
            handoff: pod.workload.open().context("open the pod-level cgroup")?,
            inbound: Some(pod.network.file().context("open the pod's network namespace")?),
            foreign_proxy: None,
        },
    })
}

/// Handoffs by socket storage: `datapath` and `proxy` do not know each other, this joins them.
struct InKernel(Arc<datapath::Handoffs>);

impl Handoffs for InKernel {
    fn original_destination(&self, accepted: BorrowedFd<'_>) -> io::Result<Option<(OriginalDst, Reason)>> {
        self.0.original_destination(accepted)
    }

    fn inbound_destination(
        &self,
        _accepted: BorrowedFd<'_>,
        local: SocketAddr,
    ) -> io::Result<Option<(OriginalDst, Reason)>> {
        // sk_lookup steers by the configured ports alone, and says so in its counters.
        Ok(Some((OriginalDst(local), Reason::Rule)))
    }

    fn leave_client(&self, dialling: BorrowedFd<'_>, client: ClientAddr) -> io::Result<()> {
        self.0.leave_client(dialling, client)
    }
}

/// Where nothing is captured, nothing can be handed over.
struct NoHandoffs;

impl Handoffs for NoHandoffs {
    fn original_destination(&self, _accepted: BorrowedFd<'_>) -> io::Result<Option<(OriginalDst, Reason)>> {
        Ok(None)
    }

    fn leave_client(&self, _dialling: BorrowedFd<'_>, _client: ClientAddr) -> io::Result<()> {
        Ok(())
    }
}
