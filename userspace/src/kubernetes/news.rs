//! What is told to the cluster: events on pods, a note on those that are served, conditions of resources.
//!
//! Told one after the other, the newest of each; what cannot be told now waits, within bounds, until it can.

mod writing;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::Settings;
use super::contact::Meaning;
use super::pace::Retry;
use super::server::Server;
use crate::model::{ObjectKey, PodKey, Pods};
use writing::Writer;

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
        /// Of a route: whether it may lead where it does, or what is wrong with that; nothing where that is not known.
        permitted: Option<Result<(), String>>,
    },
}

/// What news are about: of several about one thing the newest is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Topic {
    Event { uid: String, reason: String },
    Enrolled(PodKey),
    Condition(ObjectKey),
}

impl News {
    fn topic(&self) -> Topic {
        match self {
            Self::Event { uid, reason, .. } => Topic::Event { uid: uid.clone(), reason: reason.clone() },
            Self::Enrolled { pod, .. } => Topic::Enrolled(pod.clone()),
            Self::Condition { key, .. } => Topic::Condition(key.clone()),
        }
    }
}

/// Topics that wait at most, and those that are remembered as told; more are dropped, and that is said.
const MOST: usize = 4096;

/// Takes news.
#[derive(Clone, Debug)]
pub(super) struct Desk(Arc<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    papers: Mutex<Papers>,
    new: Notify,
}

#[derive(Debug, Default)]
struct Papers {
    /// In the order of their arrival.
    waiting: BTreeMap<u64, News>,
    order: HashMap<Topic, u64>,
    arrived: u64,
    told: HashMap<Topic, News>,
    /// Whether it was said that there is no room; once until there is again.
    full: bool,
}

impl Shelf {
    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    /// Begins to tell.
    pub(super) fn open(
        tasks: &mut JoinSet<()>,
        server: Arc<Server>,
        settings: &Settings,
        pods: watch::Receiver<Arc<Pods>>,
    ) -> Self {
        let shelf = Arc::new(Shelf::default());
        let writer = Writer::new(Arc::clone(&server), &settings.node, pods);
        tasks.spawn(deliver(server, writer, Arc::clone(&shelf)));
        Self(shelf)
    }

    /// Takes one.
    pub(super) fn tell(&self, news: News) {
        if self.0.papers().take(news) {
            self.0.new.notify_one();
        }
    }

    /// Takes one, even if it was told before.
    pub(super) fn tell_again(&self, news: News) {
        self.0.papers().forget(&news.topic());
        self.tell(news);
    }
}

impl Papers {
    /// Forgets that something was told about this.
    fn forget(&mut self, topic: &Topic) {
        self.told.remove(topic);
    }

    /// Takes news, unless nothing about them is new. Says whether somebody has something to do.
    fn take(&mut self, news: News) -> bool {
        let topic = news.topic();
        if let Some(&place) = self.order.get(&topic) {
            self.waiting.insert(place, news);
            return true;
        }
        if self.told.get(&topic) == Some(&news) {
            return false;
        }
        if self.waiting.len() >= MOST {
            if !std::mem::replace(&mut self.full, true) {
                warn!(most = MOST, "expected room for news to the API server, found none; some are not told");
            }
            return false;
        }
        self.full = false;
        self.arrived += 1;
        self.waiting.insert(self.arrived, news);
        self.order.insert(topic, self.arrived);
        true
    }

    /// The oldest that waits.
    fn next(&mut self) -> Option<News> {
        let (_, news) = self.waiting.pop_first()?;
        self.order.remove(&news.topic());
        Some(news)
    }

    fn told(&mut self, news: News) {
        if self.told.len() >= MOST {
            self.told.clear();
        }
        self.told.insert(news.topic(), news);
    }
}

/// Tells what waits, for ever.
async fn deliver(server: Arc<Server>, writer: Writer, shelf: Arc<Shelf>) {
    let mut retry = Retry::new(&server.pace);
    loop {
        let next = shelf.papers().next();
        let Some(news) = next else {
            shelf.new.notified().await;
            continue;
        };
        // What the watch shows may be behind what we have written ourselves.
        let first = !shelf.papers().told.contains_key(&news.topic());
        match writer.write(&news, first).await {
            Ok(()) => {
                retry.succeeded();
                shelf.papers().told(news);
            }
            Err(failure) if failure.meaning == Meaning::Unreachable => {
                debug!(?news, error = failure.text, "news have to wait");
                {
                    // Unless there is something newer about it by now.
                    let mut papers = shelf.papers();
                    if !papers.order.contains_key(&news.topic()) {
                        papers.take(news);
                    }
                }
                tokio::time::sleep(retry.failed()).await;
            }
            Err(failure) => {
                warn!(?news, error = failure.text, "the API server refuses to be told this");
                shelf.papers().told(news);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enrolled(name: &str, enrolled: bool) -> News {
        News::Enrolled { pod: PodKey::new("shop", name), uid: "u".to_owned(), enrolled }
    }

    #[test]
    fn of_several_news_about_one_thing_the_newest_is_told_in_the_place_of_the_first() {
        let mut papers = Papers::default();
        for (name, state) in [("a", true), ("b", true), ("a", false)] {
            assert!(papers.take(enrolled(name, state)));
        }
        assert_eq!(papers.next(), Some(enrolled("a", false)));
        assert_eq!(papers.next(), Some(enrolled("b", true)));
        assert_eq!(papers.next(), None);
        papers.told(enrolled("a", false));
        assert!(!papers.take(enrolled("a", false)));
        assert!(papers.take(enrolled("a", true)));
    }

    #[test]
    fn news_that_nobody_takes_are_bounded() {
        let mut papers = Papers::default();
        for index in 0..MOST {
            assert!(papers.take(enrolled(&index.to_string(), true)));
        }
        assert!(!papers.take(enrolled("one more", true)));
        assert!(papers.take(enrolled("0", false)));
    }
}
