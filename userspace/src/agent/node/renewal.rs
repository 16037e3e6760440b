//! What holds for pods is brought in force: for all of them when it changes, and for one that began with what held before.
//!
//! One thing after the other. A pod that begins while something newer is on its way to the others follows them, by itself:
//! hundreds that begin one after the other cost each of them one turn.

use std::sync::Arc;

use super::known::Known;
use super::served::Served;
use super::{Event, Node};
use crate::agent::serving::Following;
use crate::config::Config;
use crate::model::Pod;

/// How far the newest has come.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// How often what holds for pods has changed.
    revision: u64,
    progress: Progress,
    /// Pods that began with less than the newest, by uid.
    late: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    /// The newest is in force, but for those that are late.
    #[default]
    Done,
    /// It is being brought in force.
    UnderWay,
    /// Something is, and there is a newer one already.
    Stale,
}

impl Renewal {
    /// What a pod begins with that begins now; nothing if the newest may miss it.
    pub(super) fn begun_with(&self) -> Option<u64> {
        (self.progress == Progress::Done).then_some(self.revision)
    }
}

/// What is to be brought in force for whom.
struct Pass {
    config: Config,
    pods: Vec<(Arc<Pod>, Following)>,
}

impl Node {
    /// Something has changed that holds for every pod.
    pub(super) fn renew(&mut self) {
        self.renewal.revision += 1;
        if self.renewal.progress != Progress::Done {
            self.renewal.progress = Progress::Stale;
            return;
        }
        let (mesh, known) = (self.feed.mesh().borrow().clone(), self.known.borrow().clone());
        let reading = async move { tokio::task::spawn_blocking(move || known.renewed(mesh)).await.ok() };
        self.renewal.late.clear();
        self.pass(self.served.values().map(Served::following).collect(), reading);
    }

    /// A pod has begun to be served with what held when it began.
    pub(super) fn begun(&mut self, uid: &str, with: Option<u64>) {
        if with == Some(self.renewal.revision) {
            return;
        }
        self.renewal.late.push(uid.to_owned());
        if self.renewal.progress == Progress::Done {
            self.renewal_is_over();
        }
    }

    /// Everybody who was there when it came has it.
    pub(super) fn renewed(&mut self, known: Known) {
        if !self.renewal.late.is_empty() {
            return self.follow_up(known);
        }
        for news in known.conditions() {
            self.feed.tell(news);
        }
        self.known.send_replace(known);
        self.renewal_is_over();
    }

    pub(super) fn renewal_is_over(&mut self) {
        if std::mem::take(&mut self.renewal.progress) == Progress::Stale {
            self.renew();
        } else if !self.renewal.late.is_empty() {
            let known = self.known.borrow().clone();
            self.follow_up(known);
        }
    }

    /// Has those that are late follow.
    fn follow_up(&mut self, known: Known) {
        let late = std::mem::take(&mut self.renewal.late);
        let pods = late.iter().filter_map(|uid| self.served.get(uid)).map(Served::following).collect();
        self.pass(pods, std::future::ready(Some(known)));
    }

    /// Brings in force what is being read.
    fn pass(
        &mut self,
        pods: Vec<(Arc<Pod>, Following)>,
        reading: impl Future<Output = Option<Known>> + Send + 'static,
    ) {
        if self.renewal.progress == Progress::Done {
            self.renewal.progress = Progress::UnderWay;
        }
        let (pass, events) = (Pass { config: self.config.clone(), pods }, self.events.clone());
        self.tasks.spawn(async move {
            let event = match reading.await {
                Some(known) => {
                    pass.put_in_force(&known).await;
                    Event::Renewed(known)
                }
                // A panic, which was reported; the next snapshot is another try.
                None => Event::NotRenewed,
            };
            let _ending = events.send(event).await;
        });
    }
}

impl Pass {
    async fn put_in_force(self, known: &Known) {
        let config = Arc::new(self.config);
        for (pod, following) in self.pods {
            put_in_force(known, &config, pod, following).await;
        }
    }
}

/// Brings what is known into force for one pod. Whatever goes wrong with that, it goes wrong for this pod alone.
async fn put_in_force(known: &Known, config: &Arc<Config>, pod: Arc<Pod>, following: Following) {
    let (known, config, key) = (known.clone(), Arc::clone(config), pod.key.clone());
    let applying = tokio::task::spawn_blocking(move || {
        known.config_of(&config, &pod).and_then(|config| following.apply(config))
    });
    if let Err(error) = applying.await.map_err(anyhow::Error::from).flatten() {
        tracing::error!(pod = %key, error = format!("{error:#}"), "keeping the policies in use");
    }
}
