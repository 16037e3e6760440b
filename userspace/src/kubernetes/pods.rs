//! The pods of this node, and the labels of namespaces.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Deserialize;
use tokio::sync::watch;

use super::Settings;
use super::follow::{Following, follow_always};
use super::loose::{Loose, NAMESPACES, PODS};
use super::neighbour::Neighbour;
use super::server::Server;
use crate::model::{Network, Phase, Pod, PodKey, Pods};

/// Annotations under these are kept.
const OURS: [&str; 2] = ["sidestep.io/", "ambient.istio.io/"];
/// What the kubelet calls a static pod, on its mirror in the API.
const STATIC_UID: &str = "kubernetes.io/config.hash";
/// What marks such a mirror.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Follows the pods of our node and all namespaces, for ever.
pub(super) async fn follow_pods(
    server: Arc<Server>,
    settings: Arc<Settings>,
    publish: watch::Sender<Arc<Pods>>,
    neighbours: watch::Sender<Vec<Arc<Neighbour>>>,
) {
    let own = Following::all(PODS).fields(format!("spec.nodeName={}", settings.node));
    let all = Following::all(NAMESPACES);
    let listed = (AtomicBool::new(false), AtomicBool::new(false));
    let change = |change: &dyn Fn(&mut Pods)| {
        publish.send_modify(|pods| {
            let pods = Arc::make_mut(pods);
            change(pods);
            pods.listed = listed.0.load(Ordering::Relaxed) && listed.1.load(Ordering::Relaxed);
        });
    };
    let pods = follow_always(
        &server,
        &own,
        |pod| Neighbour::read(pod).map(Arc::new),
        |set| {
            listed.0.store(true, Ordering::Relaxed);
            change(&|pods| {
                let each = set.values().map(|known| (known.pod.key.clone(), Arc::clone(&known.pod)));
                pods.pods = each.collect();
            });
            neighbours.send_replace(set.values().cloned().collect());
        },
    );
    let namespaces = follow_always(
        &server,
        &all,
        |namespace| Ok(namespace.labels()),
        |set| {
            listed.1.store(true, Ordering::Relaxed);
            change(&|pods| {
                pods.namespaces =
                    set.iter().map(|((_, name), labels)| (name.clone(), labels.clone())).collect();
            });
        },
    );
    tokio::join!(pods, namespaces);
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    service_account_name: Option<String>,
    #[serde(default)]
    host_network: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    phase: Option<String>,
    #[serde(rename = "podIPs", default)]
    addresses: Vec<Address>,
}

#[derive(Debug, Deserialize)]
struct Address {
    ip: String,
}

/// What the node needs to know of a pod.
pub(super) fn read_pod(object: &Loose) -> Result<Pod, String> {
    if object.name().is_empty() || object.namespace().is_empty() {
        return Err("expected a pod with a name and a namespace, found one without".to_owned());
    }
    let spec: Spec = object.part("spec")?;
    let status: Status = object.part("status")?;
    let addresses = status.addresses.iter().filter(|address| !address.ip.is_empty());
    let addresses = addresses.map(|Address { ip }| {
        let parsed: Result<IpAddr, _> = ip.parse();
        parsed.map_err(|_| format!("status.podIPs: expected an address, found {ip:?}"))
    });
    let given = object.metadata.uid.as_deref().unwrap_or_default();
    let mirrored = object.annotation(MIRROR).and_then(|_| object.annotation(STATIC_UID));
    Ok(Pod {
        key: PodKey::new(object.namespace(), object.name()),
        uid: mirrored.unwrap_or(given).to_owned(),
        service_account: spec
            .service_account_name
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "default".to_owned()),
        labels: object.labels(),
        annotations: annotations(object),
        addresses: addresses.collect::<Result<_, _>>()?,
        network: if spec.host_network { Network::Host } else { Network::Own },
        phase: match status.phase.as_deref() {
            None | Some("" | "Pending") => Phase::Pending,
            Some("Succeeded" | "Failed") => Phase::Ended,
            // `Unknown` is said of pods whose node was not heard of: as far as anybody knows they run.
            Some(_) => Phase::Running,
        },
    })
}

fn annotations(object: &Loose) -> BTreeMap<String, String> {
    let all = object.metadata.annotations.iter().flatten();
    let ours = all.filter(|(name, _)| OURS.iter().any(|prefix| name.starts_with(prefix)));
    ours.map(|(name, value)| (name.clone(), value.clone())).collect()
}
