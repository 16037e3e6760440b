//! A workload being served: its instance, its capture and its telemetry, started in the one order in which nothing
//! escapes, kept in step with the configuration file, and ended without losing bytes.
//!
//! Order of the start: listeners → instance serving → settings and rules in the kernel → steering → programs attached. From
//! the first instruction of the last step on, every connection has somewhere to go. (Where another process has captured
//! before, [`crate::agent`]'s eBPF capture attaches first: until then the other one's steering holds.)

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::admin::{Readiness, State};
use crate::agent::admission::Gate;
use crate::agent::capture::{Capture, Prepared};
use crate::agent::edge;
use crate::agent::follower::Follower;
use crate::agent::host::Host;
use crate::agent::identity;
use crate::agent::listeners::Listeners;
use crate::agent::local;
use crate::agent::observing::{self, Rejections};
use crate::agent::register;
use crate::agent::scope::Scope;
use crate::config::{self, Config, Watch};
use crate::lasting::{Lasting, Panics};
use crate::model::Observer;
use crate::proxy::{
    Admission, Entry, HttpTerms, Instance, Limits, Listening, Looking, Neighbours, Routing, Surroundings,
    Unknown,
};
use crate::sys::text;
use crate::telemetry::{Outlets, Own, Telemetry};

/// How long a change of the configuration may take: writing 131,072 rules takes half a second.
const LONGEST_CHANGE: Duration = Duration::from_secs(20);
/// How often to look whether one is through.
const CHANGE_LOOK: Duration = Duration::from_millis(10);

/// After a successor has taken over: how long a connection can be between its `connect()` and our accept queue.
const HANDSHAKE_GRACE: Duration = Duration::from_secs(1);

/// How a new configuration file becomes the one to use: flags stand in front of it.
pub(super) type Configure = Box<dyn Fn(Config) -> Result<Config> + Send + Sync>;

/// A served workload.
pub(super) struct Serving {
    shared: Arc<Shared>,
    readiness: Readiness,
    listening: Vec<Listening>,
    /// Those of our own at fixed addresses, which a successor listens at too.
    edge: Vec<Listening>,
    /// What only observes: cut off at the end.
    tasks: Vec<JoinHandle<()>>,
    /// What changes things: carried to its end first.
    reloads: Option<Follower>,
    telemetry: Arc<Telemetry>,
    /// What connections live on: the last to go.
    host: Arc<Host>,
}

/// What the followers of changes need too.
struct Shared {
    /// Shared with whoever shows it.
    config: Arc<Mutex<Config>>,
    capture: Capture,
    gate: Arc<Gate>,
    instance: Arc<Instance>,
    /// Those of the process, where it serves nobody else.
    outlets: Option<Arc<Outlets>>,
    rejections: Rejections,
    /// Of what follows changes.
    panics: Arc<Panics>,
}

impl Serving {
    /// Serves and captures.
    ///
    /// # Errors
    /// If anything on the way fails; then nothing stays attached.
    pub(super) async fn start(config: Config, scope: Scope<'_>, host: Arc<Host>) -> Result<Self> {
        let workload = scope.workload(&config)?;
        let readiness = Readiness::default();
        // Before anything is captured: without a certificate nothing could be dialled, and nobody let in.
        let certificates = match &config.identity {
            Some(settings) => Some(identity::obtain(settings).await?),
            None => None,
        };
        let identity = certificates.as_ref().map(|certificates| certificates.identity());
        let own = Own { name: workload.clone(), identity };
        let telemetry = Arc::new(Telemetry::new(own, Arc::clone(host.register.outlets()))?);
        let outlets = scope.is_alone().then(|| Arc::clone(host.register.outlets()));
        if let Some(outlets) = &outlets {
            observing::tell(outlets, &config)?;
        }
        let mut tasks = Vec::new();
        if let Some(settings) = &config.admin {
            let instances = Arc::clone(host.register.metrics());
            tasks.push(observing::serve_admin(settings, &readiness, instances, certificates.clone())?);
        }
        if let Some(certificates) = &certificates {
            let certificates = Arc::clone(certificates);
            telemetry.add_source(Arc::new(move || identity::rows(&certificates)));
        }
        let panics = Panics::of("follower");
        telemetry.add_source(Arc::new(observing::panics_of(&panics)));
        let edge = edge::open(&config)?;
        let Prepared { capture, listeners, handoffs, kernel, addresses } =
            Capture::prepare(&config, &workload, &scope, &panics)?;
        let observer = Arc::clone(&telemetry) as Arc<dyn Observer>;
        let gate = Arc::new(Gate::new(&config)?);
        let surroundings = Surroundings {
            handoffs,
            observer,
            admission: Arc::clone(&gate) as Arc<dyn Admission>,
            tunnelling: certificates
                .as_ref()
                .map(|certificates| identity::tunnelling(certificates, &workload)),
            workers: host.workers(),
            network: scope.network(),
            addresses,
            finder: scope.finder(),
            room: host.room(),
        };
        let instance = Instance::new(limits(&config), surroundings);
        instance.set_neighbours(neighbours(&config));
        instance.set_http(http(&config));
        instance.set_routing(routing(&config));
        telemetry.add_source(Arc::new(observing::instance_rows(&instance)));
        if scope.is_alone() {
            tasks.extend(local::serve(&scope.name(&workload)?, &host.register));
        }
        let captured = listeners
            .as_ref()
            .map_or_else(|| Ok(Vec::new()), Listeners::for_instance)
            .context("hand the listeners to the instance")?;
        let serve = |listeners: Vec<(TcpListener, Entry)>| {
            let served = listeners.into_iter().map(|(listener, entry)| instance.serve(listener, entry));
            served.collect::<io::Result<_>>().context("serve a listener")
        };
        let (listening, edge): (_, Vec<Listening>) = (serve(captured)?, serve(edge)?);
        if let Some((counters, denials)) = kernel {
            tasks.push(observing::observe_kernel(&telemetry, counters, denials, &gate, &panics));
        }
        if let Err(error) = capture.begin(&config, &scope, listeners) {
            capture.remove().await.context("remove what was prepared")?;
            return Err(error);
        }
        let rejections = Rejections::default();
        rejections.tell(&config);
        telemetry.add_source(Arc::new(rejections.rows()));
        let config = Arc::new(Mutex::new(config));
        let shown = Arc::clone(&config);
        host.register.add(register::Entry {
            instance: Arc::downgrade(&instance),
            certificates,
            telemetry: Arc::clone(&telemetry),
            since: SystemTime::now(),
            readiness: readiness.clone(),
            addresses: scope.addresses(),
            cgroup: scope.cgroup(),
            config: Box::new(move || shown.lock().unwrap_or_else(PoisonError::into_inner).shown()),
        });
        let shared = Arc::new(Shared { config, capture, gate, instance, outlets, rejections, panics });
        Ok(Self { shared, readiness, listening, edge, tasks, reloads: None, telemetry, host })
    }

    /// Takes over what changes in the configuration file, as far as it can change while running.
    pub(super) fn follow(&mut self, changes: Watch, configure: Configure) {
        let shared = Arc::clone(&self.shared);
        self.reloads = Some(Follower::spawn(|stop| follow(changes, configure, shared, stop)));
    }

    /// Declares the workload served.
    pub(super) fn ready(&self) {
        if let Err(error) = text::give_back() {
            tracing::debug!(%error, "what only the start needed stays resident");
        }
        self.readiness.set(State::Ready);
        tracing::info!("serving");
    }

    /// Declares one of many workloads served.
    pub(super) fn stands(&self) {
        self.readiness.set(State::Ready);
    }

    /// Whether no successor has taken over.
    pub(super) fn is_ours(&self) -> bool {
        self.shared.capture.is_ours()
    }

    /// What can change its configuration from elsewhere.
    pub(super) fn following(&self) -> Following {
        Following(Arc::downgrade(&self.shared))
    }

    /// Resolves when a successor has taken over.
    pub(super) async fn superseded(&self) {
        self.shared.capture.superseded().await;
    }

    /// Opens the access log file anew, after a rotation.
    pub(super) fn reopen_access_log(&self) {
        if let Some(outlets) = &self.shared.outlets {
            outlets.reopen_log();
        }
    }

    /// Goes on capturing until no connection is open or the deadline has come, then removes the capture.
    ///
    /// # Errors
    /// If something stays attached.
    pub(super) async fn drain_and_stop(self) -> Result<()> {
        self.readiness.set(State::Draining);
        self.drain().await;
        self.stop(End::Remove).await
    }

    /// Carries on until no connection is open or the deadline has come, and leaves the capture to a successor: until that
    /// comes, what is captured is refused.
    ///
    /// # Errors
    /// If the telemetry cannot be ended.
    pub(super) async fn leave(self) -> Result<()> {
        self.readiness.set(State::Draining);
        self.drain().await;
        self.stop(End::Leave).await
    }

    /// Finishes what this process has accepted, after a successor has taken everything else.
    ///
    /// # Errors
    /// If the telemetry cannot be ended.
    pub(super) async fn hand_over(mut self) -> Result<()> {
        self.readiness.set(State::Draining);
        // Probes are the successor's to answer, and so are changes of the configuration.
        self.end_tasks().await;
        for listening in self.edge.drain(..) {
            listening.close().await;
        }
        sleep(HANDSHAKE_GRACE).await;
        self.drain().await;
        self.stop(End::Leave).await
    }

    async fn drain(&self) {
        self.shared.instance.drain();
        let deadline = self.shared.config().relay.drain_timeout;
        if timeout(deadline, self.shared.instance.idle()).await.is_err() {
            let open = self.shared.instance.active();
            tracing::warn!(open, ?deadline, "connections are open at the end of the drain: resetting them");
        }
    }

    async fn end_tasks(&mut self) {
        if let Some(reloads) = self.reloads.take() {
            reloads.end().await;
        }
        for task in self.tasks.drain(..) {
            task.abort();
            let _aborted = task.await;
        }
    }

    async fn stop(mut self, end: End) -> Result<()> {
        self.end_tasks().await;
        let shared = sole(self.shared).await?;
        // First the capture, so that no connection meets a listener that closes.
        let removed = match end {
            End::Remove => shared.capture.remove().await,
            End::Leave => Ok(()),
        };
        for listening in self.listening.into_iter().chain(self.edge) {
            listening.close().await;
        }
        shared.instance.cut_off();
        shared.instance.idle().await;
        self.host.register.remove(&self.telemetry);
        if let Some(outlets) = &shared.outlets {
            observing::fall_silent(outlets)?;
        }
        removed
    }
}

/// Waits until a change that is being carried out is through.
async fn sole(mut shared: Arc<Shared>) -> Result<Shared> {
    let deadline = Instant::now() + LONGEST_CHANGE;
    loop {
        match Arc::try_unwrap(shared) {
            Ok(shared) => return Ok(shared),
            Err(_) if Instant::now() > deadline => bail!("the workload is still being followed"),
            Err(followed) => shared = followed,
        }
        sleep(CHANGE_LOOK).await;
    }
}

/// Changes the configuration of a workload for as long as it is served.
pub(super) struct Following(Weak<Shared>);

impl Following {
    /// Takes a changed configuration over, as far as it can change while running; nothing if the workload is gone. Blocking.
    ///
    /// # Errors
    /// If it cannot be put in force; the one in use then stays.
    pub(super) fn apply(&self, new: Config) -> Result<()> {
        self.0.upgrade().map_or(Ok(()), |shared| shared.apply(new))
    }
}

/// What becomes of the capture when a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It goes with the process.
    Remove,
    /// A successor has it.
    Leave,
}

impl Shared {
    fn config(&self) -> Config {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a changed configuration over, as far as it can change while running.
    fn apply(&self, new: Config) -> Result<()> {
        let running = self.config();
        let ignored = running.restart_only_changes(&new);
        if !ignored.is_empty() {
            tracing::warn!(
                fields = ignored.join(", "),
                "these changes need a restart; the others take effect now"
            );
        }
        let new = new.keeping(&running);
        if new == running {
            return Ok(());
        }
        // Most changes are of what is known of others, and writing rules takes a while.
        if !running.captures_alike(&new) {
            self.capture.publish(&new)?;
            self.gate.publish(&new)?;
        }
        self.capture.list_addresses();
        self.instance.set_neighbours(neighbours(&new));
        self.instance.set_limits(limits(&new));
        self.instance.set_http(http(&new));
        self.instance.set_routing(routing(&new));
        // Last: whatever is open by now is known, and held to what is in force.
        self.instance.reconsider();
        self.rejections.tell(&new);
        if let Some(outlets) = &self.outlets {
            if new.tracing != running.tracing {
                // The log too, which may go to the same collector.
                observing::tell(outlets, &new)?;
            } else if new.access_log != running.access_log {
                observing::log_accesses(outlets, &new)?;
            }
        }
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

async fn follow(
    mut changes: Watch,
    configure: Configure,
    shared: Arc<Shared>,
    mut stop: oneshot::Receiver<()>,
) {
    let mut lasting = Lasting::new(&shared.panics);
    while lasting.attempt(follow_on(&mut changes, &configure, &shared, &mut stop)).await.is_none() {}
}

async fn follow_on(
    changes: &mut Watch,
    configure: &Configure,
    shared: &Arc<Shared>,
    stop: &mut oneshot::Receiver<()>,
) {
    loop {
        let change = tokio::select! {
            _ = &mut *stop => return,
            change = changes.next() => change,
        };
        let applied = match change.map_err(anyhow::Error::from).and_then(configure) {
            Ok(new) => {
                let shared = Arc::clone(shared);
                // A hundred thousand rules take a while to write; the relay goes on meanwhile.
                tokio::task::spawn_blocking(move || shared.apply(new)).await.map_err(Into::into).flatten()
            }
            Err(error) => Err(error),
        };
        match applied {
            Ok(()) => tracing::info!("configuration changed"),
            Err(error) => tracing::error!(error = format!("{error:#}"), "keeping the configuration in use"),
        }
    }
}

fn limits(config: &Config) -> Limits {
    let relay = &config.relay;
    Limits {
        connect_timeout: relay.connect_timeout,
        idle_timeout: relay.idle_timeout,
        max_connections: relay.max_connections,
        tunnel_idle_timeout: config.tunnel.idle_timeout,
    }
}

fn neighbours(config: &Config) -> Neighbours {
    let unknown = match config.outbound.unknown {
        config::Unknown::Relay => Unknown::Relay,
        config::Unknown::Refuse => Unknown::Refuse,
    };
    Neighbours::new(Arc::clone(&config.directory), unknown)
}

fn routing(config: &Config) -> Routing {
    Routing {
        routes: config.routes(),
        destinations: config.destinations(),
        rate_limits: config.rate_limits.clone(),
    }
}

fn http(config: &Config) -> HttpTerms {
    let looking = |asked| match asked {
        config::Looking::Off => Looking::Off,
        config::Looking::Declared => Looking::Declared,
        config::Looking::Detect => Looking::Detect,
    };
    config.http.as_ref().map_or_else(HttpTerms::default, |http| HttpTerms {
        outbound: looking(http.outbound),
        inbound: looking(http.inbound),
        ports: http.ports.clone(),
        opaque_ports: http.opaque_ports.clone(),
        max_header_size: http.max_header_size,
        header_timeout: http.header_timeout,
        idle_timeout: http.idle_timeout,
        max_requests: http.max_requests,
        sampling: config.tracing.as_ref().map(|tracing| tracing.sampling),
    })
}
