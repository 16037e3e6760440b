//! A pod that is served: how it begins, is kept up to date, and ends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::finder::Search;
use super::known::Known;
use super::renewal::Recipient;
use super::sandbox::{self, PodCgroups};
use crate::agent::host::Host;
use crate::agent::scope::{Enrolled, Scope};
use crate::agent::serving::Serving;
use crate::cni::AttachmentId;
use crate::config::Config;
use crate::datapath::NodeStage;
use crate::kubernetes::Feed;
use crate::model::Pod;
use crate::node::{BegunWith, Note};
use crate::sys::cgroup::Cgroup;
use crate::sys::namespace::NetworkNamespace;

/// Pods that are started at once: much of a start is waiting for grace periods of the kernel, above all where one is taken over.
const STARTS: usize = 8;
/// How long the policies of a namespace may take to be known.
const POLICIES: Duration = Duration::from_secs(8);

/// A pod that is served.
pub(super) struct Served {
    pub(super) pod: Arc<Pod>,
    pub(super) serving: Serving,
    /// What is in force for it.
    in_force: Arc<watch::Sender<Known>>,
    /// The number of its network namespace.
    pub(super) network: u64,
    /// Whether it says so at the API server.
    pub(super) note: Note,
    /// By which name the runtime knows it, if it told.
    pub(super) attachment: Option<(AttachmentId, String)>,
    /// The pod-level cgroup.
    workload: Cgroup,
}

/// How a start went.
pub(super) struct Started {
    pub(super) pod: Arc<Pod>,
    pub(super) begun_with: BegunWith,
    pub(super) outcome: Result<Served>,
}

/// A pod that is let go.
pub(super) struct Ended {
    pub(super) pod: Arc<Pod>,
    pub(super) outcome: Result<()>,
}

/// Where to start a pod.
pub(super) enum Whereabouts {
    /// As the runtime says.
    Told { network: NetworkNamespace, attachment: AttachmentId, name: String },
    /// It runs already.
    Unknown,
}

/// What every start needs.
pub(super) struct Starting {
    pub(super) host: Arc<Host>,
    pub(super) stage: Arc<NodeStage>,
    pub(super) cgroups: Arc<PodCgroups>,
    pub(super) feed: Arc<Feed>,
    pub(super) known: watch::Receiver<Known>,
    pub(super) config: Config,
}

/// Places for starts.
static PLACES: Semaphore = Semaphore::const_new(STARTS);

impl Starting {
    /// Serves a pod.
    ///
    /// # Errors
    /// Its surroundings are not found, its policies are not known, or the kernel refuses.
    pub(super) async fn start(self, pod: Arc<Pod>, whereabouts: Whereabouts) -> Result<Served> {
        let mut known = self.known.clone();
        let namespace = pod.key.namespace.clone();
        let settled = known.wait_for(|known| known.has_policies_of(&namespace));
        let settled = timeout(POLICIES, settled).await.map(|known| known.map(|known| known.clone()));
        let known = match settled {
            Ok(Ok(known)) => known,
            Ok(Err(_)) => anyhow::bail!("this agent is about to end"),
            Err(_elapsed) => anyhow::bail!(
                "expected to know the policies of the namespace {namespace} within {POLICIES:?}, do not: is the API server reached?"
            ),
        };
        let config = known.config_of(&self.config, &pod)?;
        // The semaphore is never closed.
        let _place = PLACES.acquire().await;
        // What blocks here blocks nobody else.
        let starting = tokio::task::spawn_blocking(move || {
            Handle::current().block_on(self.start_here(pod, whereabouts, config, known))
        });
        starting.await.context("start an instance")?
    }

    async fn start_here(
        self,
        pod: Arc<Pod>,
        whereabouts: Whereabouts,
        config: Config,
        known: Known,
    ) -> Result<Served> {
        let in_force = Arc::new(watch::Sender::new(known));
        let workload = self.cgroups.of(&pod.uid)?;
        let (network, attachment) = match whereabouts {
            Whereabouts::Told { network, attachment, name } => (network, Some((attachment, name))),
            Whereabouts::Unknown => (sandbox::network(&workload)?, None),
        };
        let finder = Search::new(self.feed, in_force.subscribe());
        let enrolled = Enrolled {
            key: pod.key.clone(),
            workload: workload.clone(),
            network: network.clone(),
            stage: self.stage,
            finder,
            addresses: pod.addresses.clone(),
        };
        let serving = Serving::start(config, Scope::Enrolled(enrolled), self.host).await?;
        serving.stands();
        Ok(Served {
            pod,
            serving,
            in_force,
            network: network.inode().context("look at the pod's namespace")?,
            note: Note::default(),
            attachment,
            workload,
        })
    }
}

impl Served {
    /// Whether no successor has taken it over.
    pub(super) fn is_ours(&self) -> bool {
        self.serving.is_ours()
    }

    /// Whether nothing lives in it any more.
    pub(super) fn has_ended(&self) -> bool {
        // What cannot be asked is gone.
        !self.workload.is_populated().unwrap_or(false)
    }

    /// What keeps it up to date.
    pub(super) fn recipient(&self) -> Recipient {
        Recipient {
            pod: Arc::clone(&self.pod),
            following: self.serving.following(),
            in_force: Arc::clone(&self.in_force),
        }
    }

    /// Lets go of it: for a successor, who finds it captured, or for good.
    pub(super) async fn end(self, remains: bool) -> Result<()> {
        let key = self.pod.key.clone();
        let ended = match (self.is_ours(), remains) {
            (false, _) => self.serving.hand_over().await,
            (true, true) => self.serving.leave().await,
            (true, false) => self.serving.drain_and_stop().await,
        };
        ended.with_context(|| format!("let go of {key}"))
    }
}
