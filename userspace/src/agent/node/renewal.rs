//! What holds for pods is read and brought in force, beside everything else: when is [`crate::node::Renewal`]'s to say.

use std::sync::Arc;

use tokio::sync::watch;

use super::known::Known;
use super::served::Served;
use super::{Event, Node};
use crate::agent::serving::Following;
use crate::config::Config;
use crate::model::Pod;
use crate::node::Turn;

/// A pod for which something is to be brought in force.
pub(super) struct Recipient {
    pub(super) pod: Arc<Pod>,
    pub(super) following: Following,
    /// Told what is in force for it.
    pub(super) in_force: Arc<watch::Sender<Known>>,
}

impl Node {
    /// Something has changed that holds for every pod.
    pub(super) fn renew(&mut self) {
        let turn = self.renewal.changed();
        self.take_turn(turn);
    }

    /// What was to be brought in force is, but for some. It is told how everything stands, where that is for all pods.
    pub(super) fn renewed(&mut self, known: Option<&Known>, failed: Vec<String>) {
        self.renewal.failed(failed, self.now());
        for news in known.into_iter().flat_map(Known::conditions) {
            self.feed.tell(news);
        }
        let turn = self.renewal.over();
        self.take_turn(turn);
    }

    pub(super) fn take_turn(&mut self, turn: Turn) {
        match turn {
            Turn::Rest => {}
            Turn::All => {
                let mesh = self.feed.mesh().borrow().clone();
                let pods: Vec<_> = self.served.values().map(Served::recipient).collect();
                let (known, publish) = (self.known.borrow().clone(), Arc::clone(&self.known));
                let (config, events) = (Arc::new(self.config.clone()), self.events.clone());
                self.tasks.spawn(async move {
                    let event = match tokio::task::spawn_blocking(move || known.renewed(mesh)).await {
                        Ok(known) => {
                            // Who begins from now on begins with it.
                            publish.send_replace(known.clone());
                            let failed = put_in_force(&known, &config, pods).await;
                            Event::Renewed { known: Some(known), failed }
                        }
                        // A panic, which was reported; the next snapshot is another try.
                        Err(_panicked) => Event::Renewed { known: None, failed: Vec::new() },
                    };
                    let _ending = events.send(event).await;
                });
            }
            Turn::Late(uids) => {
                let late = uids.iter().filter_map(|uid| self.served.get(uid));
                let pods: Vec<_> = late.map(Served::recipient).collect();
                let known = self.known.borrow().clone();
                let (config, events) = (Arc::new(self.config.clone()), self.events.clone());
                self.tasks.spawn(async move {
                    let failed = put_in_force(&known, &config, pods).await;
                    let _ending = events.send(Event::Renewed { known: None, failed }).await;
                });
            }
        }
    }
}

/// Brings what is known into force for pods. Whatever goes wrong with that for one, it goes wrong for this one alone: says for
/// whom, by uid.
async fn put_in_force(known: &Known, config: &Arc<Config>, pods: Vec<Recipient>) -> Vec<String> {
    let mut failed = Vec::new();
    for Recipient { pod, following, in_force } in pods {
        let (new, config, key) = (known.clone(), Arc::clone(config), pod.key.clone());
        let uid = pod.uid.clone();
        let applying = tokio::task::spawn_blocking(move || {
            new.config_of(&config, &pod).and_then(|config| following.apply(config))
        });
        match applying.await.map_err(anyhow::Error::from).flatten() {
            Ok(()) => drop(in_force.send_replace(known.clone())),
            Err(error) => {
                tracing::error!(pod = %key, error = format!("{error:#}"), "keeping the policies in use");
                failed.push(uid);
            }
        }
    }
    failed
}
