//! The feed: what the rest of the agent sees of Kubernetes.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Result;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::contact::State;
use super::destinations::{self, Destinations, Sources};
use super::loose::{DAEMON_SETS, PODS};
use super::news::Desk;
use super::pace::Pace;
use super::resources::{Resources, follow_resources};
use super::server::Server;
use super::{Interest, Mesh, News, Settings, pods};
use crate::model::{Pod, PodKey, Pods};

/// What the rest of the agent sees of Kubernetes. Dropping it ends everything it does.
pub struct Feed {
    server: Arc<Server>,
    pods: watch::Receiver<Arc<Pods>>,
    mesh: watch::Receiver<Arc<Mesh>>,
    interest: watch::Sender<Interest>,
    destinations: mpsc::Sender<destinations::Ask>,
    desk: Desk,
    _tasks: JoinSet<()>,
}

/// What became of a search for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is a pod's or a service's, and [`Feed::mesh`] has it.
    Known,
    /// The API server knows nobody with it.
    Nobody,
    /// The API server could not be asked.
    Unreachable,
}

impl Feed {
    /// Begins to follow. The API server need not be there: nothing here waits for it.
    ///
    /// # Errors
    /// It cannot be read where the server is and who we are.
    pub async fn start(settings: Settings) -> Result<Self> {
        Self::at_pace(settings, Pace::STEADY).await
    }

    pub(super) async fn at_pace(settings: Settings, pace: Pace) -> Result<Self> {
        let server = Arc::new(Server::new(&settings.api, pace).await?);
        let settings = Arc::new(settings);
        let mut tasks = JoinSet::new();

        let (pods_in, pods) = watch::channel(Arc::new(Pods::default()));
        let (local_in, local) = watch::channel(Vec::new());
        tasks.spawn(pods::follow_pods(Arc::clone(&server), Arc::clone(&settings), pods_in, local_in));

        let (interest, interest_out) = watch::channel(Interest::default());
        let (neighbours, neighbours_out) = watch::channel(Default::default());
        let (resources_in, resources) = watch::channel(Arc::new(Resources::default()));
        tasks.spawn(follow_resources(Arc::clone(&server), interest_out, neighbours_out, resources_in));

        let desk = Desk::open(&mut tasks, Arc::clone(&server), &settings, pods.clone());
        let (mesh_in, mesh) = watch::channel(Arc::new(Mesh::default()));
        let (destinations, asks) = mpsc::channel(destinations::ASKS);
        let keeper = Destinations::new(
            Arc::clone(&server),
            settings,
            Sources { local, resources },
            neighbours,
            mesh_in,
        );
        tasks.spawn(keeper.run(asks));

        Ok(Self { server, pods, mesh, interest, destinations, desk, _tasks: tasks })
    }

    /// The pods of this node, and the labels of all namespaces.
    #[must_use]
    pub fn pods(&self) -> watch::Receiver<Arc<Pods>> {
        self.pods.clone()
    }

    /// What is known of the mesh.
    #[must_use]
    pub fn mesh(&self) -> watch::Receiver<Arc<Mesh>> {
        self.mesh.clone()
    }

    /// Says whose resources are needed from now on.
    pub fn set_interest(&self, interest: Interest) {
        self.interest.send_if_modified(|last| {
            let changed = *last != interest;
            *last = interest;
            changed
        });
    }

    /// Whether the API server can be reached now; not while it has not answered yet.
    #[must_use]
    pub fn reachable(&self) -> bool {
        *self.server.contact.state().borrow() == State::Reached
    }

    /// Looks for who has an address. Asked for often, it is looked for once.
    pub async fn find(&self, address: IpAddr) -> Found {
        destinations::find(&self.destinations, &self.server, address.to_canonical()).await
    }

    /// A pod by name: of this node from what is known, any other from the API server.
    ///
    /// # Errors
    /// The API server could not be asked, or what it answered is no pod.
    pub async fn pod(&self, key: &PodKey) -> Result<Option<Arc<Pod>>> {
        if let Some(pod) = self.pods.borrow().pods.get(key) {
            return Ok(Some(Arc::clone(pod)));
        }
        let api = PODS.api(self.server.client(), Some(&key.namespace));
        let found = self
            .server
            .ask(api.get(&key.name))
            .await
            .map_err(|error| anyhow::anyhow!("read pod {key}: {error}"))?;
        let read = found.map(|object| pods::read_pod(&object).map(Arc::new)).transpose();
        read.map_err(|error| anyhow::anyhow!("read pod {key}: {error}"))
    }

    /// Tells the cluster something, when it can be told. Never waits.
    pub fn tell(&self, news: News) {
        self.desk.tell(news);
    }

    /// [`Self::tell`], whether it was told before or not: somebody has undone it.
    pub fn tell_again(&self, news: News) {
        self.desk.tell_again(news);
    }

    /// Whether a DaemonSet is there and is not about to go.
    ///
    /// # Errors
    /// The API server could not be asked.
    pub async fn remains(&self, namespace: &str, name: &str) -> Result<bool> {
        let api = DAEMON_SETS.api(self.server.client(), Some(namespace));
        let found = self
            .server
            .ask(api.get(name))
            .await
            .map_err(|error| anyhow::anyhow!("read DaemonSet {namespace}/{name}: {error}"))?;
        Ok(found.is_some_and(|object| object.metadata.deletion_timestamp.is_none()))
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Feed").finish_non_exhaustive()
    }
}
