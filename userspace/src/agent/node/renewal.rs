//! What holds for pods is read and brought in force, beside everything else: when is [`crate::node::Renewal`]'s to say.

use std::sync::Arc;

use super::known::Known;
use super::served::Served;
use super::{Event, Node};
use crate::agent::serving::Following;
use crate::config::Config;
use crate::model::Pod;
use crate::node::Turn;

impl Node {
    /// Something has changed that holds for every pod.
    pub(super) fn renew(&mut self) {
        let turn = self.renewal.changed();
        self.take_turn(turn);
    }

    /// What was read is in force for whom it was to be.
    pub(super) fn renewed(&mut self, known: Known) {
        let followers = self.renewal.followers();
        if !followers.is_empty() {
            return self.bring_in_force(&followers, known);
        }
        for news in known.conditions() {
            self.feed.tell(news);
        }
        self.known.send_replace(known);
        self.renewal_is_over();
    }

    pub(super) fn renewal_is_over(&mut self) {
        let turn = self.renewal.over();
        self.take_turn(turn);
    }

    pub(super) fn take_turn(&mut self, turn: Turn) {
        let known = self.known.borrow().clone();
        match turn {
            Turn::Rest => {}
            Turn::All => {
                let mesh = self.feed.mesh().borrow().clone();
                let reading =
                    async move { tokio::task::spawn_blocking(move || known.renewed(mesh)).await.ok() };
                self.pass(self.served.values().map(Served::following).collect(), reading);
            }
            Turn::Late(uids) => self.bring_in_force(&uids, known),
        }
    }

    fn bring_in_force(&mut self, uids: &[String], known: Known) {
        let pods = uids.iter().filter_map(|uid| self.served.get(uid)).map(Served::following).collect();
        self.pass(pods, std::future::ready(Some(known)));
    }

    /// Brings what is being read in force for some pods.
    fn pass(
        &mut self,
        pods: Vec<(Arc<Pod>, Following)>,
        reading: impl Future<Output = Option<Known>> + Send + 'static,
    ) {
        let (config, events) = (Arc::new(self.config.clone()), self.events.clone());
        self.tasks.spawn(async move {
            let event = match reading.await {
                Some(known) => {
                    for (pod, following) in pods {
                        put_in_force(&known, &config, pod, following).await;
                    }
                    Event::Renewed(known)
                }
                // A panic, which was reported; the next snapshot is another try.
                None => Event::NotRenewed,
            };
            let _ending = events.send(event).await;
        });
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
