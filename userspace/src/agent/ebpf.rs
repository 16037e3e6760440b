//! Capture by eBPF: a workload's datapath kept in step with its configuration and its namespace.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use sidestep_abi::address::{OWNED_RANGE4, OWNED_RANGE4_BITS, from_ip};
use sidestep_abi::maps::RULES_CAPACITY;
use sidestep_abi::settings::{OUTBOUND6_PORTS, Settings};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::agent::follower::Follower;
use crate::agent::listeners::{Listeners, port};
use crate::config::Config;
use crate::datapath::{Datapath, Generation, Ownership, Pins, Place, Stage};
use crate::lasting::{Lasting, Panics};
use crate::model::{OnFailure, OwnAddresses, TUNNEL_PORT};
use crate::policy::DenyWith;
use crate::sys::addresses::{self, Sources};
use crate::sys::bpffs::Mounting;
use crate::sys::cgroup::Cgroup;
use crate::sys::namespace::NetworkNamespace;
use crate::sys::ready::watched;

/// How often a process looks whether a successor has taken over.
const OWNERSHIP_LOOK: Duration = Duration::from_millis(200);

/// How long after the start the rules of a predecessor are removed: not while hundreds of workloads are being taken over.
const TIDYING: Duration = Duration::from_secs(5);
/// Workloads whose predecessors' rules are removed at once: each takes a thread, which waits for the kernel.
static TIDIERS: Semaphore = Semaphore::const_new(4);

/// Where captured outbound connections are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Targets {
    /// First address for IPv4, network byte order, and the mask of the bits that vary.
    pub(super) range4: (u32, u32),
    /// Port for IPv4; 0 for none.
    pub(super) port4: u16,
    /// Ports on `::1`.
    pub(super) ports6: [u16; OUTBOUND6_PORTS],
    /// Ports of the inbound listeners.
    pub(super) inbound: [u16; 2],
    /// Whether tunnels are served.
    pub(super) tunnel: bool,
}

impl Targets {
    /// The owned range, for listeners that hear every address.
    pub(super) const OWNED_RANGE: (u32, u32) =
        (u32::from_be_bytes(OWNED_RANGE4.octets()).to_be(), u32::MAX >> OWNED_RANGE4_BITS);
    /// 127.0.0.1 alone.
    pub(super) const LOCALHOST: (u32, u32) = (0x7f00_0001_u32.to_be(), 0);

    /// Our own listeners, over the whole owned range.
    pub(super) fn of(listeners: &Listeners) -> Result<Self> {
        let mut ports6 = [0; OUTBOUND6_PORTS];
        for (slot, listener) in ports6.iter_mut().zip(&listeners.outbound6) {
            *slot = port(listener)?;
        }
        let mut inbound = [0; 2];
        if let Some(listeners) = &listeners.inbound {
            inbound[0] = port(&listeners.v4)?;
            inbound[1] = listeners.v6.as_ref().map_or(Ok(inbound[0]), port)?;
        }
        Ok(Self {
            range4: Self::OWNED_RANGE,
            port4: port(&listeners.outbound4)?,
            ports6,
            inbound,
            tunnel: listeners.tunnel.is_some(),
        })
    }
}

/// The part of the settings that does not come from the configuration file.
pub(super) struct Fixed {
    pub(super) targets: Targets,
    /// The cgroup that is captured.
    pub(super) workload: Cgroup,
    /// Id of the cgroup that is exempt because it is the instance's; 0 for none.
    pub(super) instance_cgroup: u64,
    /// The workload's network namespace.
    pub(super) network: NetworkNamespace,
}

/// The capture of a pod that is to outlive a crash of its instance must not hang on a mount that ends with the container.
pub(super) const fn mounting(on_failure: OnFailure) -> Mounting {
    match on_failure {
        OnFailure::Closed => Mounting::Refused,
        OnFailure::Open => Mounting::Allowed,
    }
}

/// One captured workload.
pub(super) struct EbpfCapture {
    kernel: Arc<Kernel>,
    ownership: Arc<Ownership>,
    follower: Follower,
    trace: JoinHandle<()>,
    /// Whether the loss of the workload's cgroup has been told.
    loss: Once,
}

/// The kernel side and what was last written to it, so that it can be written again when the namespace changes.
struct Kernel {
    fixed: Fixed,
    /// Those of the workload, as the programs know them.
    addresses: OwnAddresses,
    state: Mutex<State>,
}

struct State {
    datapath: Datapath,
    sources: Sources,
    published: Option<Config>,
}

impl EbpfCapture {
    /// Loads the datapath and follows the addresses of the namespace; nothing is captured yet. Called within a runtime.
    /// The turn of this workload is ours until [`Self::begin`] is through.
    pub(super) fn prepare(
        workload: &str,
        mounting: Mounting,
        stage: Stage<'_>,
        fixed: Fixed,
        panics: &Arc<Panics>,
    ) -> Result<Self> {
        // Subscribed before the list is read: a change between the two is not missed.
        let changes = fixed.network.visit(addresses::changes).flatten();
        let changes = watched(changes.context("subscribe to address changes")?)?;
        let mut datapath = Datapath::load(Pins::open(workload, mounting)?, stage)?;
        let trace = tokio::spawn(datapath.trace()?);
        let ownership = datapath.ownership();
        let state = Mutex::new(State { datapath, sources: Sources::default(), published: None });
        let kernel = Arc::new(Kernel { fixed, addresses: OwnAddresses::default(), state });
        kernel.read_addresses()?;
        let (followed, lasting) = (Arc::clone(&kernel), Lasting::new(panics));
        let follower = Follower::spawn(|stop| keep_following(changes, followed, lasting, stop));
        Ok(Self { kernel, ownership, follower, trace, loss: Once::new() })
    }

    /// The addresses of the workload, kept up to date.
    pub(super) fn addresses(&self) -> OwnAddresses {
        self.kernel.addresses.clone()
    }

    /// Does something with the datapath, which nobody else uses meanwhile.
    pub(super) fn datapath<T>(&self, with: impl FnOnce(&mut Datapath) -> Result<T>) -> Result<T> {
        with(&mut self.kernel.state().datapath)
    }

    /// Captures: publishes a configuration, steers and attaches, and declares this process the one that serves.
    ///
    /// Where another process has captured before, attaching comes first: should it fail, nothing that the other one steers by
    /// has been touched. Where none has, it comes last: nothing is captured before everything stands.
    pub(super) fn begin(
        &self,
        config: &Config,
        place: &Place,
        steer: impl FnOnce(&mut Datapath) -> Result<()>,
    ) -> Result<()> {
        let mut state = self.kernel.state();
        let adopting = state.datapath.tables.is_settled()?;
        if adopting {
            state.datapath.attach(place)?;
        }
        self.kernel.publish(&mut state, config)?;
        steer(&mut state.datapath)?;
        if !adopting {
            state.datapath.attach(place)?;
        }
        state.published = Some(config.clone());
        state.datapath.declare()
    }

    /// Makes the rules and settings of a changed configuration valid, unless a successor has taken over.
    pub(super) fn publish(&self, config: &Config) -> Result<()> {
        let mut state = self.kernel.state();
        self.kernel.publish_in_turn(&mut state, config)?;
        state.published = Some(config.clone());
        Ok(())
    }

    /// Whether no successor has taken the workload over.
    pub(super) fn is_ours(&self) -> bool {
        self.ownership.is_ours()
    }

    /// Resolves when a successor has taken the workload over. A workload that is gone has none: that is told, and waiting
    /// goes on.
    pub(super) async fn superseded(&self) {
        let mut looks = tokio::time::interval(OWNERSHIP_LOOK);
        loop {
            looks.tick().await;
            if !self.ownership.is_ours() {
                return;
            }
            if !self.kernel.fixed.workload.stands() {
                self.loss.call_once(|| {
                    tracing::warn!(
                        cgroup = %self.kernel.fixed.workload.path().display(),
                        "the workload's cgroup was removed: nothing is captured any more; stop this process, and start \
                         one in the new cgroup"
                    );
                });
            }
        }
    }

    /// Ends the capture and removes every trace of it, unless a successor has taken over.
    pub(super) async fn remove(self) -> Result<()> {
        self.trace.abort();
        self.follower.end().await;
        let kernel = Arc::into_inner(self.kernel).context("the datapath is still in use")?;
        let datapath = kernel.state.into_inner().unwrap_or_else(PoisonError::into_inner).datapath;
        // The kernel lets a grace period pass, in which others may start.
        tokio::task::spawn_blocking(move || datapath.remove()).await.context("remove the capture")?
    }
}

impl Kernel {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings what the programs know of the namespace's addresses up to date.
    fn read_addresses(&self) -> Result<()> {
        let mut state = self.state();
        let seen = self.fixed.network.visit(|| {
            let own = addresses::own()?;
            let sources = Sources::of(&own);
            Ok((own, sources))
        });
        let (own, sources) = seen.flatten().context("list the addresses of the network namespace")?;
        state.datapath.set_own_addresses(&own)?;
        self.addresses.replace(own);
        if sources == state.sources {
            return Ok(());
        }
        state.sources = sources;
        match state.published.clone() {
            Some(config) => self.publish_in_turn(&mut state, &config),
            None => Ok(()),
        }
    }

    fn publish_in_turn(&self, state: &mut State, config: &Config) -> Result<()> {
        let settings = self.settings(state.sources, config);
        state.datapath.in_turn(|datapath| publish(datapath, settings, config))
    }

    fn publish(&self, state: &mut State, config: &Config) -> Result<()> {
        publish(&mut state.datapath, self.settings(state.sources, config), config)
    }

    fn settings(&self, sources: Sources, config: &Config) -> Settings {
        let Targets { range4, port4, ports6, inbound, tunnel } = self.fixed.targets;
        Settings {
            instance_cgroup: self.fixed.instance_cgroup,
            source4: sources.v4.map_or(0, |address| u32::from(address).to_be()),
            outbound4: range4.0,
            outbound4_mask: range4.1,
            source6: sources.v6.map_or([0; 4], |address| from_ip(IpAddr::V6(address))),
            outbound4_port: port4,
            outbound6_ports: ports6,
            inbound_ports: inbound,
            tunnel_port: if tunnel { TUNNEL_PORT } else { 0 },
            default_verdict: 0,
            deny_errno: match config.outbound.deny_with {
                DenyWith::Refused => libc::ECONNREFUSED as u8,
                DenyWith::NotPermitted => libc::EPERM as u8,
            },
            on_failure: config.capture.on_failure as u8,
            settled: 0,
        }
    }
}

fn publish(datapath: &mut Datapath, settings: Settings, config: &Config) -> Result<()> {
    let rules = config.outbound.rules.compile()?;
    // What a probe is let through for is said in what it asks: the instance listens first.
    let denials = config.authorization.plain_text_denials(&config.mutual_tls.probed_ports());
    if let Some(prefixes) = denials.too_many {
        tracing::warn!(
            prefixes,
            room = RULES_CAPACITY,
            "the policies name more prefixes than the kernel has room for: the instance decides alone"
        );
    }
    datapath.tables.publish(&Generation {
        settings,
        rules: &rules,
        callers: &denials.table,
        captured_inbound: config.inbound_ports().spans(),
        without_plain_text: &config.mutual_tls.ports_without_plain_text(),
    })
}

/// Keeps the own addresses in step with the namespace, whatever breaks.
async fn keep_following(
    changes: AsyncFd<OwnedFd>,
    kernel: Arc<Kernel>,
    mut lasting: Lasting,
    mut stop: oneshot::Receiver<()>,
) {
    while lasting.attempt(follow_addresses(&changes, &kernel, &mut stop)).await.is_none() {}
}

async fn follow_addresses(
    changes: &AsyncFd<OwnedFd>,
    kernel: &Arc<Kernel>,
    stop: &mut oneshot::Receiver<()>,
) {
    let mut discarded = [0; 8192];
    let mut tidying = pin!(async {
        sleep(TIDYING).await;
        // The semaphore is never closed.
        TIDIERS.acquire().await
    });
    let mut tidy = false;
    loop {
        let mut ready = tokio::select! {
            _ = &mut *stop => return,
            _place = &mut tidying, if !tidy => {
                tidy = true;
                let kernel = Arc::clone(kernel);
                let tidied = tokio::task::spawn_blocking(move || kernel.state().datapath.tidy()).await;
                if let Err(error) = tidied.map_err(Into::into).flatten() {
                    tracing::warn!(error = format!("{error:#}"), "rules of the predecessor take up room");
                }
                continue;
            }
            ready = changes.readable() => match ready {
                Ok(ready) => ready,
                Err(_) => return,
            },
        };
        // What changed does not matter: the whole list is read again.
        while nix::unistd::read(changes, &mut discarded).is_ok_and(|length| length > 0) {}
        ready.clear_ready();
        let kernel = Arc::clone(kernel);
        // Writing all rules again takes a while; the relay goes on meanwhile.
        let written = tokio::task::spawn_blocking(move || kernel.read_addresses()).await;
        if let Err(error) = written.map_err(Into::into).flatten() {
            tracing::error!(error = format!("{error:#}"), "own addresses are out of date");
        }
    }
}
