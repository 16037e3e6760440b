//! Following a destination: a service with its endpoints and the pods behind them, or the pod at an address.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Notify, watch};

use super::follow::{Following, Place, follow_always};
use super::lookup::{Target, pods_at};
use super::loose::{ENDPOINT_SLICES, Loose, PODS, SERVICES};
use super::neighbour::Neighbour;
use super::server::Server;
use crate::model::{Protocol, Service, ServicePort};

/// What is known of a destination. Only whole ones are shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct View {
    /// The service, if that is what it is and it is there.
    pub(super) service: Option<Service>,
    /// The pods behind it, or the one at the address.
    pub(super) neighbours: Vec<Arc<Neighbour>>,
}

/// Where those who follow destinations leave what they see, the last of each.
#[derive(Debug, Default)]
pub(super) struct Board {
    views: Mutex<HashMap<Target, Arc<View>>>,
    changed: Notify,
}

impl Board {
    /// What is known of all destinations.
    pub(super) fn views(&self) -> MutexGuard<'_, HashMap<Target, Arc<View>>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when something has changed since it last returned.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn show(&self, target: &Target, view: View) {
        let mut views = self.views();
        if views.get(target).is_none_or(|last| **last != view) {
            views.insert(target.clone(), Arc::new(view));
            self.changed.notify_one();
        }
    }
}

/// Follows a destination, for ever.
pub(super) async fn follow_target(
    server: Arc<Server>,
    cluster_domain: Arc<str>,
    target: Target,
    board: Arc<Board>,
) {
    match &target {
        Target::Service(place) => follow_service(&server, &cluster_domain, place, &target, &board).await,
        Target::Address(address) => {
            let what = Following::all(PODS).fields(pods_at(*address));
            follow_always(
                &server,
                &what,
                |pod| Neighbour::read(pod).map(Arc::new),
                |set| {
                    board.show(&target, View { service: None, neighbours: set.values().cloned().collect() });
                },
            )
            .await;
        }
    }
}

/// What was listed of a service so far.
#[derive(Debug, Default)]
struct Parts {
    service: Option<Option<Written>>,
    slices: Option<Vec<Slice>>,
    pods: Option<Vec<Arc<Neighbour>>>,
}

async fn follow_service(
    server: &Server,
    cluster_domain: &str,
    place: &Place,
    target: &Target,
    board: &Board,
) {
    let (namespace, name) = place;
    let parts = Mutex::new(Parts::default());
    let change = |change: &dyn Fn(&mut Parts)| {
        let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut parts);
        if let Some(view) = parts.view(cluster_domain, place) {
            board.show(target, view);
        }
    };
    let (selector, mut selected) = watch::channel(None);

    let itself = Following::all(SERVICES).within(namespace).fields(format!("metadata.name={name}"));
    let itself = follow_always(server, &itself, Written::read, |set| {
        let written = set.get(place).cloned();
        let wanted = Some(written.as_ref().map(Written::selector).unwrap_or_default());
        change(&|parts| parts.service = Some(written.clone()));
        selector.send_if_modified(|last| std::mem::replace(last, wanted.clone()) != wanted);
    });
    let slices = Following::all(ENDPOINT_SLICES)
        .within(namespace)
        .labels(format!("kubernetes.io/service-name={name}"));
    let slices = follow_always(server, &slices, Slice::read, |set| {
        change(&|parts| parts.slices = Some(set.values().cloned().collect()));
    });
    let pods = async {
        loop {
            let labels = selected.borrow_and_update().clone();
            let behind = async {
                match labels {
                    None => std::future::pending().await,
                    // A service without a selector has the endpoints that somebody wrote by hand.
                    Some(labels) if labels.is_empty() => {
                        change(&|parts| parts.pods = Some(Vec::new()));
                        std::future::pending::<()>().await;
                    }
                    Some(labels) => {
                        let what = Following::all(PODS).within(namespace).labels(labels);
                        follow_always(
                            server,
                            &what,
                            |pod| Neighbour::read(pod).map(Arc::new),
                            |set| {
                                change(&|parts| parts.pods = Some(set.values().cloned().collect()));
                            },
                        )
                        .await;
                    }
                }
            };
            tokio::select! {
                () = behind => {}
                changed = selected.changed() => if changed.is_err() { return },
            }
        }
    };
    tokio::join!(itself, slices, pods);
}

impl Parts {
    fn view(&self, cluster_domain: &str, (namespace, name): &Place) -> Option<View> {
        let (service, slices, pods) = (self.service.as_ref()?, self.slices.as_ref()?, self.pods.as_ref()?);
        let service = service.as_ref().map(|written| Service {
            hostname: format!("{name}.{namespace}.svc.{cluster_domain}"),
            addresses: written.addresses.clone(),
            ports: written.ports.iter().map(|port| port.resolved(slices)).collect(),
            endpoints: endpoints(slices),
        });
        let neighbours = if service.is_some() { pods.clone() } else { Vec::new() };
        Some(View { service, neighbours })
    }
}

/// The endpoints that take connections; if none is ready, those that are about to go but still serve, as kube-proxy has it.
fn endpoints(slices: &[Slice]) -> Vec<IpAddr> {
    let all = || slices.iter().flat_map(|slice| &slice.endpoints);
    let chosen: Vec<&Endpoint> = all().filter(|endpoint| endpoint.ready).collect();
    let chosen = if chosen.is_empty() { all().filter(|endpoint| endpoint.serving).collect() } else { chosen };
    let mut addresses: Vec<IpAddr> =
        chosen.into_iter().flat_map(|endpoint| &endpoint.addresses).copied().collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// A service as it was written.
#[derive(Clone, Debug, PartialEq)]
struct Written {
    addresses: Vec<IpAddr>,
    ports: Vec<WrittenPort>,
    selector: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenPort {
    #[serde(default)]
    name: String,
    port: u16,
    protocol: Option<String>,
    #[serde(default)]
    target_port: Value,
    app_protocol: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenSpec {
    #[serde(rename = "clusterIP")]
    address: Option<String>,
    #[serde(rename = "clusterIPs", default)]
    addresses: Vec<String>,
    #[serde(default)]
    ports: Vec<WrittenPort>,
    #[serde(default)]
    selector: BTreeMap<String, String>,
}

impl Written {
    fn read(object: &Loose) -> Result<Self, String> {
        let spec: WrittenSpec = object.part("spec")?;
        let addresses =
            if spec.addresses.is_empty() { spec.address.into_iter().collect() } else { spec.addresses };
        let addresses = addresses.iter().filter(|address| !matches!(address.as_str(), "" | "None"));
        let addresses = addresses.map(|address| {
            address.parse().map_err(|_| format!("spec.clusterIPs: expected an address, found {address:?}"))
        });
        let mut ports = spec.ports;
        ports.retain(|port| is_tcp(port.protocol.as_deref()));
        Ok(Self { addresses: addresses.collect::<Result<_, String>>()?, ports, selector: spec.selector })
    }

    fn selector(&self) -> String {
        let pairs: Vec<String> =
            self.selector.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join(",")
    }
}

impl WrittenPort {
    /// Where its endpoints listen is known for certain by them only: it may be written as a name that each pod gives a number.
    fn resolved(&self, slices: &[Slice]) -> ServicePort {
        let told = slices.iter().flat_map(|slice| &slice.ports).find(|port| port.name == self.name);
        let written =
            self.target_port.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|&port| port > 0);
        ServicePort {
            port: self.port,
            target_port: told.map(|port| port.number).or(written).unwrap_or(self.port),
            protocol: match &self.app_protocol {
                Some(said) => Protocol::of_app_protocol(said),
                None => Protocol::of_port_name(&self.name),
            },
        }
    }
}

/// A part of the endpoints.
#[derive(Clone, Debug, PartialEq)]
struct Slice {
    endpoints: Vec<Endpoint>,
    ports: Vec<SlicePort>,
}

#[derive(Clone, Debug, PartialEq)]
struct Endpoint {
    addresses: Vec<IpAddr>,
    ready: bool,
    serving: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct SlicePort {
    name: String,
    number: u16,
}

#[derive(Debug, Deserialize)]
struct WrittenEndpoint {
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    conditions: Conditions,
}

#[derive(Debug, Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct WrittenSlicePort {
    name: Option<String>,
    port: Option<u16>,
    protocol: Option<String>,
}

impl Slice {
    fn read(object: &Loose) -> Result<Self, String> {
        // These two are at the top, without a specification around them; either may be null.
        let endpoints: Option<Vec<WrittenEndpoint>> = top(object, "endpoints")?;
        let ports: Option<Vec<WrittenSlicePort>> = top(object, "ports")?;
        // Addresses that are names (`addressType: FQDN`) are not followed.
        let endpoints = endpoints.unwrap_or_default().into_iter().map(|written| Endpoint {
            addresses: written.addresses.iter().filter_map(|address| address.parse().ok()).collect(),
            // Nothing said means ready (EndpointConditions of discovery.k8s.io/v1).
            ready: written.conditions.ready.unwrap_or(true),
            serving: written.conditions.serving.unwrap_or(written.conditions.ready.unwrap_or(true)),
        });
        let ports = ports.unwrap_or_default().into_iter().filter(|port| is_tcp(port.protocol.as_deref()));
        let ports = ports
            .filter_map(|port| Some(SlicePort { name: port.name.unwrap_or_default(), number: port.port? }));
        Ok(Self { endpoints: endpoints.collect(), ports: ports.collect() })
    }
}

fn top<T: for<'de> Deserialize<'de>>(object: &Loose, field: &str) -> Result<Option<T>, String> {
    let found = object.rest.get(field).unwrap_or(&Value::Null);
    Option::deserialize(found).map_err(|error| format!("{field}: {error}"))
}

fn is_tcp(protocol: Option<&str>) -> bool {
    matches!(protocol, None | Some("" | "TCP"))
}
