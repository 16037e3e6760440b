//! Who has an address: asked of the API server when somebody wants to know, followed from then on, forgotten when there are
//! too many.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::feed::Found;
use super::resources::Resources;
use super::server::Server;
use super::{Mesh, Settings};
use crate::model::{Directory, DirectoryBuilder, Identity, Network, Phase, Pod, Pods, Reach, Workload};

/// Questions that wait at most.
pub(super) const ASKS: usize = 1024;

/// A question: who has this address?
#[derive(Debug)]
pub(super) struct Ask {
    address: IpAddr,
    answer: oneshot::Sender<Found>,
}

/// Asks, and waits for the answer.
pub(super) async fn find(asks: &mpsc::Sender<Ask>, address: IpAddr) -> Found {
    let (answer, answered) = oneshot::channel();
    if asks.send(Ask { address, answer }).await.is_err() {
        return Found::Unreachable;
    }
    answered.await.unwrap_or(Found::Unreachable)
}

/// Keeps what is known, and publishes it.
pub(super) struct Destinations {
    settings: Arc<Settings>,
    pods: watch::Receiver<Arc<Pods>>,
    resources: watch::Receiver<Arc<Resources>>,
    _neighbours: watch::Sender<BTreeSet<String>>,
    _server: Arc<Server>,
    publish: watch::Sender<Arc<Mesh>>,
}

impl Destinations {
    pub(super) fn new(
        server: Arc<Server>,
        settings: Arc<Settings>,
        pods: watch::Receiver<Arc<Pods>>,
        resources: watch::Receiver<Arc<Resources>>,
        neighbours: watch::Sender<BTreeSet<String>>,
        publish: watch::Sender<Arc<Mesh>>,
    ) -> Self {
        Self { settings, pods, resources, _neighbours: neighbours, _server: server, publish }
    }

    /// Answers and publishes until nobody can ask any more.
    pub(super) async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        loop {
            tokio::select! {
                ask = asks.recv() => {
                    let Some(Ask { address, answer }) = ask else { return };
                    let known = self.publish.borrow().directory.workload(address).is_some();
                    let _gone = answer.send(if known { Found::Known } else { Found::Nobody });
                }
                changed = self.pods.changed() => if changed.is_err() { return },
                changed = self.resources.changed() => if changed.is_err() { return },
            }
            self.renew();
        }
    }

    fn renew(&mut self) {
        let pods = Arc::clone(&self.pods.borrow_and_update());
        let resources = Arc::clone(&self.resources.borrow_and_update());
        let settled =
            resources.listed.iter().map(|(_, namespace)| namespace.clone()).collect::<BTreeSet<_>>();
        let settled = settled.into_iter().filter(|namespace| resources.settled_for_workloads(namespace));
        self.publish.send_replace(Arc::new(Mesh {
            directory: Arc::new(self.directory(&pods)),
            resources: resources.objects.clone(),
            settled: settled.collect(),
        }));
    }

    fn directory(&self, pods: &Pods) -> Directory {
        let mut builder = DirectoryBuilder::default();
        for pod in pods.pods.values() {
            if pod.network == Network::Own
                && pod.phase != Phase::Ended
                && let Some(workload) = self.workload(pod, Some(self.settings.node.clone()))
            {
                let _taken = builder.workload(workload);
            }
        }
        builder.build()
    }

    fn workload(&self, pod: &Pod, node: Option<String>) -> Option<Workload> {
        let identity =
            Identity::new(&self.settings.trust_domain, &pod.key.namespace, &pod.service_account).ok()?;
        Some(Workload {
            name: pod.key.name.clone(),
            identity,
            addresses: pod.addresses.clone(),
            reach: reach(pod),
            node,
        })
    }
}

/// Whether a pod can be reached through the tunnel: its agent, or its sidecar, has said so.
fn reach(pod: &Pod) -> Reach {
    let says = |name: &str, words: &[&str]| {
        pod.annotations.get(name).is_some_and(|found| words.contains(&found.as_str()))
    };
    if says("sidestep.io/status", &["enrolled", "injected"])
        || says("ambient.istio.io/redirection", &["enabled"])
    {
        Reach::Tunnel
    } else {
        Reach::Plain
    }
}
