//! `sidestep capture`: the steering alone, for a proxy that is not ours.
//!
//! The proxy is found by its port, exempted by its own cgroup, and told original destinations through `SO_ORIGINAL_DST`.
//! Nothing is captured before it listens; when it closes its listener, captured connections are refused until it listens again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sidestep_abi::maps::ListenerSlot;
use sidestep_abi::settings::OUTBOUND6_PORTS;
use tokio::time::sleep;

use crate::admin::{Readiness, State};
use crate::agent::admission::Gate;
use crate::agent::check::preflight;
use crate::agent::ebpf::{self, EbpfCapture, Fixed, Targets};
use crate::agent::observing;
use crate::agent::scope::{Pod, workload_name};
use crate::agent::sidecar::Stop;
use crate::cli::{CaptureArgs, ForeignProxy};
use crate::config::{CaptureMode, Config, Watch, watch};
use crate::datapath::{Datapath, Place, Stage};
use crate::lasting::Panics;
use crate::sys::cgroup::Cgroup;
use crate::sys::foreign::{Family, Listener, Reach, listener, listening_inode};
use crate::sys::namespace::NetworkNamespace;
use crate::telemetry::{Instances, Outlets, Own, Telemetry};

/// How often to look whether the proxy listens.
const LOOK: Duration = Duration::from_millis(250);

/// Steers until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot capture; then nothing stays behind.
pub(super) async fn steer(args: CaptureArgs) -> Result<()> {
    let (file, changes) = watch(&args.config)?;
    let (config, proxy) = args.configure(file)?;
    preflight(CaptureMode::Ebpf)?;
    let mut stop = Stop::listen()?;
    let workload = workload_name(&config)?;
    let outlets = Arc::<Outlets>::default();
    let telemetry = Arc::new(Telemetry::new(Own::named(&workload), Arc::clone(&outlets))?);
    observing::log_accesses(&outlets, &config)?;
    let readiness = Readiness::default();
    let instances = Arc::new(Instances::default());
    instances.register(&telemetry);
    let admin =
        config.admin.as_ref().map(|settings| observing::serve_admin(settings, &readiness, instances, None));
    let admin = admin.transpose()?;
    tracing::info!(port = proxy.outbound_port, "waiting for the proxy to listen");
    let ears = tokio::select! {
        ears = Ears::of(proxy) => ears?,
        () = stop.told() => return Ok(()),
    };
    let panics = Panics::of("follower");
    telemetry.add_source(Arc::new(observing::panics_of(&panics)));
    let (capture, exempt) = begin(&config, &workload, proxy, &ears, &panics)?;
    let counters = capture.datapath(Datapath::counters)?;
    let gate = Arc::new(Gate::new(&config)?);
    let denials =
        observing::observe_kernel(&telemetry, counters, capture.datapath(Datapath::denials)?, &gate, &panics);
    readiness.set(State::Ready);
    tracing::info!(proxy = ears.outbound.pid, "capturing");
    // Held any longer, the proxy's listeners would outlive the proxy, and connections would wait in them for nobody.
    drop(ears);
    let follow = Follow { capture: &capture, gate: &gate, exempt, proxy };
    let kept = keep(follow, args, config, changes, &mut stop).await;
    readiness.set(State::Draining);
    for task in admin.into_iter().chain([denials]) {
        task.abort();
        let _aborted = task.await;
    }
    let removed = capture.remove().await;
    observing::fall_silent(&outlets)?;
    kept.and(removed)
}

/// Captures for a proxy that listens; the cgroup is the one that is exempt.
fn begin(
    config: &Config,
    workload: &str,
    proxy: ForeignProxy,
    ears: &Ears,
    panics: &Arc<Panics>,
) -> Result<(EbpfCapture, Cgroup)> {
    let pod = Pod::find(config)?;
    let exempt = ears.cgroup(config, &pod)?;
    let fixed = Fixed {
        targets: ears.targets(proxy),
        workload: pod.workload.clone(),
        instance_cgroup: exempt.id()?,
        network: NetworkNamespace::own(),
    };
    let mounting = ebpf::mounting(config.capture.on_failure);
    let capture = EbpfCapture::prepare(&pod.pins_name(workload)?, mounting, Stage::Own, fixed, panics)?;
    let place = Place {
        workload: pod.workload.open()?,
        handoff: pod.workload.open()?,
        inbound: proxy.inbound_port.map(|_| pod.network_namespace()).transpose()?,
        foreign_proxy: Some(exempt.open()?),
    };
    capture.begin(config, &place, |datapath| ears.steer(datapath))?;
    Ok((capture, exempt))
}

/// Keeps the capture in step with the proxy and the configuration file until told to stop.
async fn keep(
    follow: Follow<'_>,
    args: CaptureArgs,
    mut config: Config,
    mut changes: Watch,
    stop: &mut Stop,
) -> Result<()> {
    let mut seen = follow.inodes();
    loop {
        tokio::select! {
            () = stop.told() => return Ok(()),
            () = follow.capture.superseded() => {
                tracing::info!("a successor has taken over");
                return Ok(());
            }
            () = sleep(LOOK) => {
                let now = follow.inodes();
                if now != seen {
                    // A proxy that ends while it is being looked at is an error of the moment, not the end of the capture.
                    match follow.refill(&config) {
                        Ok(()) => seen = now,
                        Err(error) => tracing::warn!(error = format!("{error:#}"), "refusing captured connections"),
                    }
                }
            }
            change = changes.next() => match change.map_err(anyhow::Error::from).and_then(|file| {
                let (new, _) = args.configure(file)?;
                let new = new.keeping(&config);
                follow.capture.publish(&new)?;
                follow.gate.publish(&new).map(|()| new)
            }) {
                Ok(new) => config = new,
                Err(error) => tracing::error!(error = format!("{error:#}"), "keeping the configuration in use"),
            },
        }
    }
}

/// What is needed to steer to a proxy again after it has listened anew.
struct Follow<'a> {
    capture: &'a EbpfCapture,
    /// What is told of refusals.
    gate: &'a Gate,
    exempt: Cgroup,
    proxy: ForeignProxy,
}

impl Follow<'_> {
    /// The sockets that listen at the proxy's ports now.
    fn inodes(&self) -> Vec<Option<u64>> {
        [Some(self.proxy.outbound_port), self.proxy.inbound_port]
            .into_iter()
            .flatten()
            .flat_map(|port| [listening_inode(Family::V4, port), listening_inode(Family::V6, port)])
            .collect()
    }

    /// Steers to the proxy's new listeners, if they are the proxy's: whoever else in the pod listens at its ports while it
    /// is away gets nothing.
    fn refill(&self, config: &Config) -> Result<()> {
        let Some(ears) = Ears::now(self.proxy)? else { return Ok(()) };
        for listener in ears.all() {
            let cgroup = Cgroup::of(listener.pid, config.capture.cgroup_mount.as_deref())?;
            if cgroup != self.exempt {
                bail!(
                    "expected the proxy in {}, found process {} of {} at its port: start capture anew if the proxy has moved",
                    self.exempt.path().display(),
                    listener.pid,
                    cgroup.path().display()
                );
            }
        }
        self.capture.datapath(|datapath| ears.steer(datapath))
    }
}

/// The listeners of the proxy.
struct Ears {
    outbound: Listener,
    outbound6: Option<Listener>,
    inbound: Option<Listener>,
    inbound6: Option<Listener>,
}

impl Ears {
    /// Waits until the proxy listens at every port that it was said to.
    async fn of(proxy: ForeignProxy) -> Result<Self> {
        loop {
            if let Some(ears) = Self::now(proxy)? {
                return Ok(ears);
            }
            sleep(LOOK).await;
        }
    }

    /// The listeners as they are, if the proxy has all of them. One that hears IPv6 at every address may hear IPv4 too.
    fn now(proxy: ForeignProxy) -> Result<Option<Self>> {
        let at = |port| -> Result<_> {
            let v6 = listener(Family::V6, port)?;
            let v4 = match listener(Family::V4, port)? {
                None if v6.is_some() => listener(Family::V6, port)?,
                v4 => v4,
            };
            Ok(v4.map(|v4| (v4, v6)))
        };
        let Some((outbound, outbound6)) = at(proxy.outbound_port)? else { return Ok(None) };
        let (inbound, inbound6) = match proxy.inbound_port {
            None => (None, None),
            Some(port) => match at(port)? {
                None => return Ok(None),
                Some((inbound, inbound6)) => (Some(inbound), inbound6),
            },
        };
        Ok(Some(Self { outbound, outbound6, inbound, inbound6 }))
    }

    /// The cgroup that is exempt: the proxy's.
    fn cgroup(&self, config: &Config, pod: &Pod) -> Result<Cgroup> {
        let cgroup = Cgroup::of(self.outbound.pid, config.capture.cgroup_mount.as_deref())
            .context("find the cgroup of the proxy")?;
        pod.expect_below(self.outbound.pid)?;
        Ok(cgroup)
    }

    /// Where to send connections. A proxy that hears one address only gets the whole load on that one.
    fn targets(&self, proxy: ForeignProxy) -> Targets {
        let every = self.outbound.reach == Reach::Every;
        let mut ports6 = [0; OUTBOUND6_PORTS];
        if self.outbound6.is_some() {
            ports6 = [proxy.outbound_port; OUTBOUND6_PORTS];
        }
        Targets {
            range4: if every { Targets::OWNED_RANGE } else { Targets::LOCALHOST },
            port4: proxy.outbound_port,
            ports6,
            inbound: [proxy.inbound_port.unwrap_or_default(); 2],
            tunnel: false,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Listener> {
        [Some(&self.outbound), self.outbound6.as_ref(), self.inbound.as_ref(), self.inbound6.as_ref()]
            .into_iter()
            .flatten()
    }

    /// Puts every listener in its slots.
    fn steer(&self, datapath: &mut Datapath) -> Result<()> {
        let slots6 = (ListenerSlot::Outbound6 as u32..).take(OUTBOUND6_PORTS);
        let outbound6 =
            self.outbound6.iter().flat_map(|listener| slots6.clone().map(move |slot| (slot, listener)));
        let inbound4 = self.inbound.iter().map(|listener| (ListenerSlot::Inbound4 as u32, listener));
        let inbound6 = self.inbound6.iter().map(|listener| (ListenerSlot::Inbound6 as u32, listener));
        std::iter::once((ListenerSlot::Outbound4 as u32, &self.outbound))
            .chain(outbound6)
            .chain(inbound4)
            .chain(inbound6)
            .try_for_each(|(slot, listener)| datapath.put_listener(slot, &listener.socket))
    }
}
