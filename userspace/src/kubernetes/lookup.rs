//! Asking the API server who has an address.

use std::net::IpAddr;

use kube::api::ListParams;
use serde::Deserialize;

use super::follow::Place;
use super::loose::{IP_ADDRESSES, Loose, PODS, SERVICES};
use super::neighbour::Neighbour;
use super::server::{Failure, Server};

/// What can be followed because somebody talks to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Target {
    /// A service by its name, and everything behind it.
    Service(Place),
    /// Whatever pod has an address.
    Address(IpAddr),
}

/// Which pods have an address, those aside that have ended.
pub(super) fn pods_at(address: IpAddr) -> String {
    format!("status.podIP={address},status.phase!=Succeeded,status.phase!=Failed")
}

/// Who has an address.
pub(super) async fn look_up(server: &Server, address: IpAddr) -> Result<Option<Target>, Failure> {
    let select = |fields: &str| ListParams::default().fields(fields).limit(100);
    let (services, pods) = (SERVICES.api(server.client(), None), PODS.api(server.client(), None));
    let (by_address, running) = (select(&format!("spec.clusterIP={address}")), select(&pods_at(address)));
    let (services, pods) =
        tokio::try_join!(server.ask(services.list(&by_address)), server.ask(pods.list(&running)))?;
    if let Some(service) = services.into_iter().flat_map(|list| list.items).next() {
        return Ok(Some(Target::Service(named(&service))));
    }
    let mut pods = pods.into_iter().flat_map(|list| list.items);
    // Pods of the node's network are all at the node's address, and none of them has it for itself.
    if pods.any(|pod| Neighbour::read(&pod).is_ok_and(|neighbour| neighbour.has_addresses())) {
        return Ok(Some(Target::Address(address)));
    }
    second_address(server, address).await
}

fn named(object: &Loose) -> Place {
    (object.namespace().to_owned(), object.name().to_owned())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    parent_ref: Parent,
}

#[derive(Debug, Deserialize)]
struct Parent {
    resource: String,
    namespace: Option<String>,
    name: String,
}

/// Services can be selected by their first address only; those of the other family are objects of their own since
/// Kubernetes 1.33. Where there are none, or where they are not shown to us, nothing is known of them.
async fn second_address(server: &Server, address: IpAddr) -> Result<Option<Target>, Failure> {
    let api = IP_ADDRESSES.api(server.client(), None);
    let name = address.to_string();
    let Ok(Some(object)) = server.ask(api.get(&name)).await else { return Ok(None) };
    let Ok(Spec { parent_ref }) = object.part::<Spec>("spec") else { return Ok(None) };
    let service = (parent_ref.resource == "services")
        .then(|| (parent_ref.namespace.unwrap_or_default(), parent_ref.name));
    Ok(service.map(Target::Service))
}
