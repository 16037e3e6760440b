//! `sidestep node`: serves every enrolled pod of a Kubernetes node, each with an instance of its own, until told to stop or until
//! a successor has taken all of them over.
//!
//! One task decides ([`Node`]): it hears what the API server, the CNI plugin, the configuration file and the instances say, one
//! event after the other, and has everything that takes time done elsewhere.
//!
//! # Layout
//! - here: the start, the end, and the order of events
//! - `enrolment`: what becomes of what the plugin asks for, and of the steps of the [`crate::node::Roster`]
//! - `served`: the pods that are served
//! - `deserted`: what an agent before this one has left
//! - `known`: what Kubernetes says, with its meaning
//! - `renewal`: how that is brought in force
//! - `sandbox`: where a pod lives
//! - `finder`: who is at an address
//! - `plugin`: the CNI plugin's counterpart
//! - `counts`: what it tells of itself in its metrics

mod counts;
mod deserted;
mod enrolment;
mod finder;
mod known;
mod plugin;
mod renewal;
mod sandbox;
mod served;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::admin::{Readiness, State};
use crate::agent::check::preflight;
use crate::agent::ebpf;
use crate::agent::host::Host;
use crate::agent::observing;
use crate::agent::register::Serves;
use crate::agent::sidecar::Stop;
use crate::cli::NodeArgs;
use crate::cni::{self, Attachment, AttachmentId, Detached, Install};
use crate::config::{CaptureMode, CniSettings, Config, Enrol, NodeSettings, watch};
use crate::datapath::NodeStage;
use crate::kubernetes::{Api, Feed, Settings};
use crate::model::{OnFailure, Pod, Pods};
use crate::node::{Renewal, Roster, Unsaid};
use crate::sys::cgroup::Cgroup;
use crate::sys::{descriptors, text};
use counts::Unenrolled;
use known::Known;
use plugin::{Answer, Plugin};
use sandbox::PodCgroups;
use served::{Ended, Served, Started};

/// How often to look whether a successor has come, and what is due.
const LOOK: Duration = Duration::from_millis(200);
/// How long nothing has to have been started or let go before the memory that this needed is given back.
const QUIET: Duration = Duration::from_secs(1);
/// Events that wait at most; whoever has more to say waits.
const EVENTS: usize = 1024;
/// How long the API server may take to say whether the DaemonSet is still wanted.
const LAST_QUESTION: Duration = Duration::from_secs(3);

/// Something that the node's task hears of.
enum Event {
    /// The plugin asks for a pod to be enrolled.
    Attach { attachment: Attachment, answer: Answer },
    /// What the API server says of that pod.
    Asked { attachment: Attachment, pod: Result<Option<Arc<Pod>>>, answer: Answer },
    /// The runtime ends a pod.
    Detach { gone: Detached, answer: Answer },
    /// Whether a pod is still captured.
    Check { attachment: Attachment, answer: Answer },
    /// What is not among the valid ones is gone.
    Collect { network: String, valid: BTreeSet<AttachmentId>, answer: Answer },
    /// Whether pods can be enrolled.
    Status { answer: Answer },
    /// A pod is served, or could not be.
    Started(Started),
    /// A pod is served no more.
    Ended(Ended),
    /// What was to be brought in force is, but for those pods, by uid; a snapshot, where that was for every pod.
    Renewed { known: Option<Known>, failed: Vec<String> },
}

/// The agent of a node.
struct Node {
    /// The sections of the file that hold for every pod, and the node's own.
    config: Config,
    settings: NodeSettings,
    host: Arc<Host>,
    stage: Arc<NodeStage>,
    cgroups: Arc<PodCgroups>,
    feed: Arc<Feed>,
    unenrolled: Arc<Unenrolled>,
    roster: Roster,
    pods: Arc<Pods>,
    /// By uid.
    served: BTreeMap<String, Served>,
    /// Those of them that are let go once nothing lives in them.
    lingering: BTreeSet<String>,
    /// Who waits for a pod to be served, by uid.
    waiting: BTreeMap<String, Vec<Answer>>,
    /// The newest snapshot: what pods begin with.
    known: Arc<watch::Sender<Known>>,
    renewal: Renewal,
    events: mpsc::Sender<Event>,
    tasks: JoinSet<()>,
    begun: Instant,
    /// When pods were last started or let go, until what only that needs was given back.
    busy: Option<Duration>,
    /// Whether a start or an end is through that the steps looked for last have not seen.
    changed: bool,
    readiness: Readiness,
    standing: Standing,
    /// Set at the end: whether somebody serves the node after us.
    ending: Arc<OnceLock<bool>>,
}

/// Whether this agent still is the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Serving,
    /// A successor serves the node: nothing new is begun.
    Superseded,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot begin; then nothing stays behind. If something stayed attached at the end.
pub(super) async fn serve(args: NodeArgs) -> Result<()> {
    let mut stop = Stop::listen()?;
    let mut hang_up = signal(SignalKind::hangup()).context("receive SIGHUP")?;
    let (config, mut changes) = watch(&args.config)?;
    if config.capture.mode != CaptureMode::Ebpf {
        bail!("expected capture.mode ebpf for the pods of a node, found another: leave it out");
    }
    let settings = config.node.clone().unwrap_or_default();
    preflight(config.capture.mode)?;
    descriptors::raise().context("raise the limit on open descriptors")?;
    let host = Host::start(Serves::Node)?;
    observing::tell(host.register.outlets(), &config)?;
    let readiness = Readiness::default();
    let admin = match &config.admin {
        Some(settings) => {
            let metrics = Arc::clone(host.register.metrics());
            Some(observing::serve_admin(settings, &readiness, metrics, None)?)
        }
        None => None,
    };
    let local = crate::agent::local::serve("node", &host.register);
    let feed = Arc::new(Feed::start(feed_settings(&settings)?).await?);
    let stage = Arc::new(stage(&config)?);
    let cgroups = Arc::new(PodCgroups::below(config.capture.cgroup_mount.as_deref())?);
    let (events, mut heard) = mpsc::channel(EVENTS);
    let plugin = settings.cni.as_ref().map(|cni| enrol_by(cni, events.clone())).transpose()?;
    let unenrolled = Arc::<Unenrolled>::default();
    counts::tell(host.register.metrics(), &unenrolled, &feed);
    if let Some(plugin) = &plugin {
        counts::tell_requests(host.register.metrics(), plugin.serving.outcomes());
    }
    let (mut pods, mut mesh) = (feed.pods(), feed.mesh());
    let mut node = Node {
        roster: Roster::new(match settings.enrol {
            Enrol::Labelled => Unsaid::Leave,
            Enrol::All => Unsaid::Serve,
        }),
        config,
        settings,
        host,
        stage,
        cgroups,
        feed,
        unenrolled,
        pods: Arc::default(),
        served: BTreeMap::new(),
        lingering: BTreeSet::new(),
        waiting: BTreeMap::new(),
        known: Arc::new(watch::Sender::new(Known::default())),
        renewal: Renewal::default(),
        events,
        tasks: JoinSet::new(),
        begun: Instant::now(),
        busy: None,
        changed: false,
        readiness,
        standing: Standing::Serving,
        ending: Arc::default(),
    };
    tracing::info!("serving the node");
    let (mut looks, mut some) = (interval(LOOK), Vec::new());
    // Whether it ends because what follows the API server has broken. Then the next agent is better: pods stay captured for it.
    let deaf = loop {
        tokio::select! {
            () = stop.told() => {
                tracing::info!("told to stop");
                break false;
            }
            _ = hang_up.recv() => node.host.register.outlets().reopen_log(),
            _ = heard.recv_many(&mut some, EVENTS) => node.hear_all(some.drain(..)),
            changed = pods.changed() => {
                if changed.is_err() {
                    break true;
                }
                node.pods = pods.borrow_and_update().clone();
                node.look();
            }
            changed = mesh.changed() => {
                if changed.is_err() {
                    break true;
                }
                mesh.borrow_and_update();
                node.renew();
            }
            change = changes.next() => match change {
                Ok(new) => node.configure(new),
                Err(error) => tracing::error!(error = format!("{error:#}"), "keeping the configuration in use"),
            },
            Some(_done) = node.tasks.join_next() => {}
            _ = looks.tick() => node.tick(),
        }
    };
    node.readiness.set(State::Draining);
    let remains = deaf || node.remains().await;
    let _first = node.ending.set(remains);
    // What waits to be heard is dropped, and whoever waits for it is told so. A pod that has begun meanwhile ends with the others.
    heard.close();
    while let Ok(event) = heard.try_recv() {
        if let Event::Started(Started { pod, outcome: Ok(served), .. }) = event {
            node.served.insert(pod.uid.clone(), served);
        }
    }
    // From here on the runtime has to wait for a successor, or goes on without us.
    if let Some(Enrolling { serving, keeping, install }) = plugin {
        drop(keeping);
        if !remains {
            let removed = tokio::task::spawn_blocking(move || install.remove()).await;
            if let Err(error) = removed.map_err(anyhow::Error::from).and_then(|removed| Ok(removed?)) {
                tracing::error!(error = format!("{error:#}"), "the CNI plugin stays");
            }
        }
        serving.stop().await;
    }
    for task in admin.into_iter().chain(local) {
        task.abort();
        let _aborted = task.await;
    }
    node.end(remains).await?;
    ensure!(
        !deaf,
        "nothing follows the API server any more, the log says why; the pods stay captured for the next agent"
    );
    Ok(())
}

/// The node's part in handoffs, declared ours.
fn stage(config: &Config) -> Result<NodeStage> {
    let mut stage = NodeStage::open(ebpf::mounting(OnFailure::Closed))?;
    let own = Cgroup::own(config.capture.cgroup_mount.as_deref())?;
    stage.attach(&own.open().context("open the agent's cgroup")?)?;
    stage.declare()?;
    Ok(stage)
}

fn feed_settings(settings: &NodeSettings) -> Result<Settings> {
    let node = match (&settings.name, env::var("NODE_NAME")) {
        (Some(name), _) => name.clone(),
        (None, Ok(name)) if !name.is_empty() => name,
        (None, _) => {
            let host =
                std::fs::read_to_string("/proc/sys/kernel/hostname").context("ask for the host's name")?;
            host.trim().to_owned()
        }
    };
    Ok(Settings {
        node,
        trust_domain: settings.trust_domain.clone(),
        cluster_domain: settings.cluster_domain.clone(),
        api: settings.kubeconfig.clone().map_or(Api::InCluster, Api::Kubeconfig),
        most_destinations: settings.most_destinations,
    })
}

/// How the plugin is heard and kept in its place.
struct Enrolling {
    serving: cni::server::Serving,
    keeping: cni::Keeping,
    install: Install,
}

fn enrol_by(settings: &CniSettings, events: mpsc::Sender<Event>) -> Result<Enrolling> {
    // Heard before it is installed: nobody is to ask in vain.
    let serving = cni::server::serve(&settings.socket, Arc::new(Plugin::new(events)))
        .with_context(|| format!("listen at {} (node.cni.socket)", settings.socket.display()))?;
    let install = Install {
        bin_dir: settings.bin_dir.clone(),
        conf_dir: settings.conf_dir.clone(),
        socket: settings.socket.clone(),
        on_failure: match settings.on_failure {
            OnFailure::Closed => cni::OnFailure::Closed,
            OnFailure::Open => cni::OnFailure::Open,
        },
        timeout: cni::install::TIMEOUT,
        program: Install::own_program(),
    };
    let keeping = install.clone().keep();
    Ok(Enrolling { serving, keeping, install })
}

impl Node {
    /// Time since the start, which only grows.
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Hears what has happened since. What is to be done about it all together is looked for once.
    fn hear_all(&mut self, events: impl Iterator<Item = Event>) {
        events.for_each(|event| self.hear(event));
        if std::mem::take(&mut self.changed) {
            self.look();
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Attach { attachment, answer } => self.attach(attachment, answer),
            Event::Asked { attachment, pod, answer } => self.asked(attachment, pod, answer),
            Event::Detach { gone, answer } => self.detach(&gone, answer),
            Event::Check { attachment, answer } => self.check(&attachment, answer),
            Event::Collect { network, valid, answer } => self.collect(&network, &valid, answer),
            Event::Status { answer } => self.status(answer),
            Event::Started(started) => self.started(started),
            Event::Ended(ended) => self.ended(ended),
            Event::Renewed { known, failed } => self.renewed(known.as_ref(), failed),
        }
    }

    /// What happens of its own accord: successors come, retries fall due.
    fn tick(&mut self) {
        if self.standing == Standing::Serving && !self.stage.ownership().is_ours() {
            tracing::info!("a successor serves the node; handing over");
            self.standing = Standing::Superseded;
            self.readiness.set(State::Draining);
        }
        if self.standing == Standing::Superseded {
            // Pods are taken over by whoever has taken the node over: until then there is nothing to look for.
            let taken = self.served.iter().filter(|(_, served)| !served.is_ours());
            for uid in taken.map(|(uid, _)| uid.clone()).collect::<Vec<_>>() {
                self.hand_over(&uid);
            }
        }
        self.see_off();
        let now = self.now();
        let turn = self.renewal.retry(now);
        self.take_turn(turn);
        let retry = self.roster.next_due().is_some_and(|due| due <= now);
        if retry || self.served.values().any(|served| served.note.is_due(now)) {
            self.look();
        }
        // Who is ready has taken over what is to be taken over: then the agent before us is told to go.
        let stands = self.pods.listed && self.roster.is_settled();
        if self.standing == Standing::Serving && stands && self.readiness.state() == State::Starting {
            self.readiness.set(State::Ready);
            self.clear_up();
            self.load_ahead();
            self.busy = Some(self.now());
        }
        if self.busy.is_some_and(|since| since + QUIET <= self.now()) {
            self.busy = None;
            if let Err(error) = text::give_back() {
                tracing::debug!(%error, "what only starts need stays resident");
            }
        }
    }

    /// Has maps and programs loaded for the next pods, beside everything else.
    fn load_ahead(&mut self) {
        let stage = Arc::clone(&self.stage);
        self.tasks.spawn(async move {
            let loaded = tokio::task::spawn_blocking(move || stage.load_ahead()).await;
            if let Err(error) = loaded.map_err(anyhow::Error::from).flatten() {
                tracing::debug!(error = format!("{error:#}"), "nothing is loaded ahead");
            }
        });
    }

    /// Takes over what changed in the file.
    fn configure(&mut self, new: Config) {
        let ignored = self.config.restart_only_changes(&new);
        if !ignored.is_empty() {
            tracing::warn!(
                fields = ignored.join(", "),
                "these changes need a restart; the others take effect now"
            );
        }
        let new = new.keeping(&self.config);
        let outlets = self.host.register.outlets();
        let told = if new.tracing != self.config.tracing {
            observing::tell(outlets, &new)
        } else if new.access_log != self.config.access_log {
            observing::log_accesses(outlets, &new)
        } else {
            Ok(())
        };
        if let Err(error) = told {
            tracing::error!(error = format!("{error:#}"), "keeping the outlets in use");
        }
        self.config = new;
        self.renew();
    }

    /// Whether somebody will serve the node after us, so that its pods stay captured meanwhile.
    async fn remains(&self) -> bool {
        if self.standing == Standing::Superseded {
            return true;
        }
        let Some((namespace, name)) = &self.settings.daemon_set else { return false };
        match timeout(LAST_QUESTION, self.feed.remains(namespace, name)).await {
            Ok(Ok(remains)) => remains,
            // Nobody knows: what is captured stays so.
            Ok(Err(error)) => {
                tracing::warn!(error = format!("{error:#}"), "pods stay captured for a successor");
                true
            }
            Err(_elapsed) => true,
        }
    }

    /// Lets go of every pod: for a successor, or for good.
    async fn end(mut self, remains: bool) -> Result<()> {
        let mut ending = JoinSet::new();
        for (_, served) in std::mem::take(&mut self.served) {
            ending.spawn(served.end(remains));
        }
        // Those that are being handed over or stopped end too.
        while self.tasks.join_next().await.is_some() {}
        let mut outcome = Ok(());
        while let Some(ended) = ending.join_next().await {
            outcome = outcome.and(ended.context("let go of a pod").flatten());
        }
        let stage = Arc::into_inner(self.stage).context("the stage is still in use");
        observing::fall_silent(self.host.register.outlets())?;
        if remains {
            return outcome;
        }
        outcome.and(stage.and_then(NodeStage::remove))
    }
}
