//! Pods are enrolled and let go: because the plugin asks for it, or because what stands is not what is wished for.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures_util::FutureExt;
use tokio::sync::mpsc::error::SendError;

use super::known::Known;
use super::plugin::Answer;
use super::served::{Ended, Served, Started, Starting, Whereabouts};
use super::{Event, Node, Standing};
use crate::cni::{Attachment, AttachmentId, Detached, Refusal, RefusalKind};
use crate::kubernetes::{Interest, News};
use crate::model::{Pod, Pods};
use crate::node::{Attach, Note, Step, When, Wish};
use crate::sys::namespace::NetworkNamespace;

/// Why nothing is begun any more.
const SUPERSEDED: &str = "another agent serves this node now";

impl Node {
    /// Takes the steps from what stands to what is wished for.
    pub(super) fn look(&mut self) {
        if self.standing == Standing::Superseded {
            return;
        }
        let (pods, now) = (Arc::clone(&self.pods), self.now());
        self.mind(None);
        self.keep_up(&pods, now);
        for step in self.roster.look(&pods, now) {
            match step {
                Step::Start(pod) => self.start(pod, Whereabouts::Unknown),
                Step::Stop(_, uid, When::Now) => self.stop(&uid),
                Step::Stop(_, uid, When::HasEnded) => {
                    self.lingering.insert(uid);
                }
                Step::Refuse(pod, why) => {
                    self.unenrolled.count_refused();
                    self.refuse(&pod, "EnrolmentRefused", why);
                }
            }
        }
    }

    /// Has those pods say again that they are served that do not say it, and those follow that are selected by other policies now.
    fn keep_up(&mut self, pods: &Pods, now: Duration) {
        let mut relabelled = Vec::new();
        for served in self.served.values_mut() {
            let Some(shown) = pods.pods.get(&served.pod.key).filter(|pod| pod.uid == served.pod.uid) else {
                // Nothing can be noted at what is gone, or not there yet.
                served.note = Note::default();
                continue;
            };
            if served.note.look(shown, now) {
                let (pod, uid) = (served.pod.key.clone(), served.pod.uid.clone());
                self.feed.tell_again(News::Enrolled { pod, uid, enrolled: true });
            }
            if shown.labels != served.pod.labels {
                served.pod = Arc::clone(shown);
                relabelled.push(shown.uid.clone());
            }
        }
        for uid in relabelled {
            let turn = self.renewal.late(&uid);
            self.take_turn(turn);
        }
    }

    /// Says whose policies are needed: those of the namespaces of all pods that are, or are about to be, served.
    fn mind(&self, about: Option<&Pod>) {
        let wished = self.pods.pods.values().filter(|pod| self.roster.wish(pod, &self.pods) == Wish::Serve);
        let served = self.served.values().map(|served| &*served.pod);
        let namespaces = Known::namespaces(wished.map(|pod| &**pod).chain(served).chain(about));
        let root_namespace = self.config.root_namespace().to_owned();
        self.feed.set_interest(Interest { namespaces, root_namespace });
    }

    fn start(&mut self, pod: Arc<Pod>, whereabouts: Whereabouts) {
        let starting = Starting {
            host: Arc::clone(&self.host),
            stage: Arc::clone(&self.stage),
            cgroups: Arc::clone(&self.cgroups),
            feed: Arc::clone(&self.feed),
            known: self.known.subscribe(),
            config: self.config.clone(),
        };
        let (events, ending) = (self.events.clone(), Arc::clone(&self.ending));
        let begun_with = self.renewal.begin();
        self.tasks.spawn(async move {
            let begun = starting.start(Arc::clone(&pod), whereabouts);
            let outcome = whole(begun).await.context("start to serve a pod").flatten();
            let told = events.send(Event::Started(Started { pod, begun_with, outcome })).await;
            // Nobody hears of it any more: it ends as the others do.
            if let Err(SendError(Event::Started(Started { outcome: Ok(served), .. }))) = told
                && let Err(error) = served.end(ending.get().copied().unwrap_or(true)).await
            {
                tracing::error!(error = format!("{error:#}"), "something stays of a pod");
            }
        });
    }

    pub(super) fn started(&mut self, Started { pod, begun_with, outcome }: Started) {
        let now = self.now();
        self.busy = Some(now);
        self.roster.started(&pod.uid, outcome.is_ok(), now);
        let answers = self.waiting.remove(&pod.uid).unwrap_or_default();
        match outcome {
            Ok(served) => {
                tracing::info!(pod = %pod.key, "serving a pod");
                self.served.insert(pod.uid.clone(), served);
                for answer in answers {
                    let _gone = answer.send(Ok(()));
                }
                self.feed.tell(News::Enrolled { pod: pod.key.clone(), uid: pod.uid.clone(), enrolled: true });
                let turn = self.renewal.begun(&pod.uid, begun_with);
                self.take_turn(turn);
                self.load_ahead();
                // What is wished for may have changed while it was started.
                self.changed = true;
            }
            Err(error) => {
                let message = format!("{error:#}");
                tracing::error!(pod = %pod.key, error = message, "cannot serve a pod");
                for answer in answers {
                    let _gone = answer.send(Err(Refusal::new(RefusalKind::TryAgain, &message)));
                }
                self.unenrolled.count_failed();
                self.refuse(&pod, "EnrolmentFailed", message);
            }
        }
    }

    /// Tells whoever looks at the pod.
    fn refuse(&self, pod: &Pod, reason: &str, message: String) {
        let (key, uid) = (pod.key.clone(), pod.uid.clone());
        self.feed.tell(News::Event { pod: key, uid, reason: reason.to_owned(), message, warning: true });
    }

    /// Lets go of a pod that is served no more.
    fn stop(&mut self, uid: &str) {
        if let Some(served) = self.served.remove(uid) {
            self.finish(served, false);
        } else {
            self.roster.stopped(uid);
        }
    }

    /// Lets go of the pods that nobody wants any more, and in which nothing lives.
    pub(super) fn see_off(&mut self) {
        // The runtime or a successor may have been faster.
        self.lingering.retain(|uid| self.served.contains_key(uid));
        let has_ended = |uid: &&String| self.served.get(*uid).is_some_and(Served::has_ended);
        let ended: Vec<String> = self.lingering.iter().filter(has_ended).cloned().collect();
        for uid in ended {
            self.lingering.remove(&uid);
            self.stop(&uid);
        }
    }

    /// Leaves to a successor what it has taken.
    pub(super) fn hand_over(&mut self, uid: &str) {
        if let Some(served) = self.served.remove(uid) {
            self.finish(served, true);
        }
    }

    fn finish(&mut self, served: Served, remains: bool) {
        let (pod, events) = (Arc::clone(&served.pod), self.events.clone());
        self.tasks.spawn(async move {
            let outcome = whole(served.end(remains)).await.context("let go of a pod").flatten();
            let _ending = events.send(Event::Ended(Ended { pod, outcome })).await;
        });
    }

    pub(super) fn ended(&mut self, Ended { pod, outcome }: Ended) {
        match outcome {
            Ok(()) => tracing::info!(pod = %pod.key, "a pod is served no more"),
            Err(error) => {
                tracing::error!(pod = %pod.key, error = format!("{error:#}"), "something stays of a pod");
            }
        }
        self.roster.stopped(&pod.uid);
        self.busy = Some(self.now());
        if self.standing == Standing::Serving {
            self.feed.tell(News::Enrolled { pod: pod.key.clone(), uid: pod.uid.clone(), enrolled: false });
            self.changed = true;
        }
    }

    /// The runtime has made a pod's network, and waits with its containers.
    pub(super) fn attach(&mut self, attachment: Attachment, answer: Answer) {
        if self.standing == Standing::Superseded {
            return refuse(answer, RefusalKind::TryAgain, SUPERSEDED);
        }
        let known = self.pods.pods.get(&attachment.pod).filter(|pod| is_of(&attachment, pod)).cloned();
        if let Some(pod) = known {
            return self.enrol(pod, attachment, answer);
        }
        let (feed, events) = (Arc::clone(&self.feed), self.events.clone());
        self.tasks.spawn(async move {
            let pod = feed.pod(&attachment.pod).await;
            let _ending = events.send(Event::Asked { attachment, pod, answer }).await;
        });
    }

    /// What the API server says of a pod that the runtime told of first.
    pub(super) fn asked(&mut self, attachment: Attachment, pod: Result<Option<Arc<Pod>>>, answer: Answer) {
        match pod {
            Ok(Some(pod)) if is_of(&attachment, &pod) => self.enrol(pod, attachment, answer),
            Ok(_) => {
                let gone = format!("the pod {} is gone, or another has its name", attachment.pod);
                refuse(answer, RefusalKind::Gone, gone);
            }
            Err(error) => {
                let message =
                    format!("it is not known whether {} is to be served: {error:#}", attachment.pod);
                refuse(answer, RefusalKind::TryAgain, message);
            }
        }
    }

    fn enrol(&mut self, pod: Arc<Pod>, attachment: Attachment, answer: Answer) {
        if !self.pods.listed {
            let message = "the labels of namespaces are not known yet: the API server has not answered";
            return refuse(answer, RefusalKind::TryAgain, message);
        }
        match self.roster.wish(&pod, &self.pods) {
            Wish::Leave => return drop(answer.send(Ok(()))),
            Wish::Refuse(why) => {
                self.unenrolled.count_refused();
                self.refuse(&pod, "EnrolmentRefused", why.clone());
                return refuse(answer, RefusalKind::Unservable, why);
            }
            Wish::Serve => {}
        }
        let network = match NetworkNamespace::of(attachment.netns)
            .and_then(|network| Ok((network.inode()?, network)))
        {
            Ok((inode, _)) if self.served.get(&pod.uid).is_some_and(|served| served.network == inode) => {
                if let Some(served) = self.served.get_mut(&pod.uid) {
                    served.attachment = Some((attachment.id, attachment.network));
                }
                return drop(answer.send(Ok(())));
            }
            Ok((_, network)) => network,
            Err(error) => {
                let message = format!("enter {}: {error}", attachment.netns_path.display());
                return refuse(answer, RefusalKind::Unservable, message);
            }
        };
        if self.served.contains_key(&pod.uid) {
            // The runtime has made a new sandbox for it.
            self.roster.detach(&pod.uid);
            self.stop(&pod.uid);
            return refuse(answer, RefusalKind::TryAgain, "the pod's last sandbox is being let go");
        }
        match self.roster.attach(&pod) {
            Attach::Begin => {
                self.mind(Some(&pod));
                self.waiting.entry(pod.uid.clone()).or_default().push(answer);
                let whereabouts =
                    Whereabouts::Told { network, attachment: attachment.id, name: attachment.network };
                self.start(pod, whereabouts);
            }
            Attach::UnderWay => self.waiting.entry(pod.uid.clone()).or_default().push(answer),
            Attach::Ending => refuse(answer, RefusalKind::TryAgain, "the pod's last sandbox is being let go"),
        }
    }

    /// The runtime ends a pod: its containers are gone.
    pub(super) fn detach(&mut self, gone: &Detached, answer: Answer) {
        let is_it = |served: &&Served| served.attachment.as_ref().is_some_and(|(id, _)| *id == gone.id);
        let uid = self.served.values().find(is_it).map(|served| served.pod.uid.clone());
        if let Some(uid) = uid {
            self.roster.detach(&uid);
            self.stop(&uid);
        }
        let _gone = answer.send(Ok(()));
    }

    pub(super) fn check(&self, attachment: &Attachment, answer: Answer) {
        let pod = self.pods.pods.get(&attachment.pod).filter(|pod| is_of(attachment, pod));
        let outcome = match pod {
            Some(pod)
                if self.roster.wish(pod, &self.pods) == Wish::Serve
                    && !self.served.contains_key(&pod.uid) =>
            {
                Err(Refusal::new(RefusalKind::TryAgain, format!("the pod {} is not served", attachment.pod)))
            }
            // One that is not to be served stands as it should.
            _ => Ok(()),
        };
        let _gone = answer.send(outcome);
    }

    pub(super) fn collect(&mut self, network: &str, valid: &BTreeSet<AttachmentId>, answer: Answer) {
        let stale = |served: &&Served| {
            let attachment = served.attachment.as_ref();
            attachment.is_some_and(|(id, of)| of == network && !valid.contains(id))
        };
        let gone: Vec<String> =
            self.served.values().filter(stale).map(|served| served.pod.uid.clone()).collect();
        for uid in gone {
            self.roster.detach(&uid);
            self.stop(&uid);
        }
        let _gone = answer.send(Ok(()));
    }

    pub(super) fn status(&self, answer: Answer) {
        let outcome = match (self.standing, self.pods.listed) {
            (Standing::Superseded, _) => Err(Refusal::new(RefusalKind::Unavailable, SUPERSEDED)),
            (Standing::Serving, false) => Err(Refusal::new(
                RefusalKind::Unavailable,
                "the pods of this node are not known yet: the API server has not answered",
            )),
            (Standing::Serving, true) => Ok(()),
        };
        let _gone = answer.send(outcome);
    }
}

/// What comes of work for one pod, which whoever waits for it hears of even if it panics.
async fn whole<T>(work: impl Future<Output = T>) -> Result<T> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_reported| anyhow!("the agent panicked over it"))
}

/// Whether the runtime means this pod.
fn is_of(attachment: &Attachment, pod: &Pod) -> bool {
    attachment.pod == pod.key && attachment.uid.as_ref().is_none_or(|uid| *uid == pod.uid)
}

fn refuse(answer: Answer, kind: RefusalKind, message: impl std::fmt::Display) {
    let _gone = answer.send(Err(Refusal::new(kind, message)));
}
