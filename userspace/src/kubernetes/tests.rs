//! The feed against an API server of the harness, in this process.

mod destinations;
mod faults;
mod pods;
mod resources;
mod rights;
mod told;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sidestep_tests::{Api as Harness, patience};
use tokio::sync::watch;

use super::pace::Pace;
use super::{Api, Feed, Settings};

/// Everything that takes long in the product takes no time here.
const HURRY: Pace = Pace {
    watch: 1,
    retry: (Duration::from_millis(10), Duration::from_millis(100)),
    unknown_kind: Duration::from_millis(200),
    answer: Duration::from_secs(2),
    nobody: Duration::from_millis(300),
};

fn settings(api: &Harness) -> Settings {
    Settings {
        node: "here".to_owned(),
        trust_domain: "cluster.local".parse().unwrap(),
        cluster_domain: "cluster.local".to_owned(),
        api: Api::Kubeconfig(api.kubeconfig()),
        most_destinations: 4,
    }
}

async fn feed(api: &Harness) -> Feed {
    Feed::at_pace(settings(api), HURRY).await.unwrap()
}

/// Waits until a snapshot is as it should be, and hands it on.
async fn until<T>(what: &str, receiver: &mut watch::Receiver<Arc<T>>, is: impl Fn(&T) -> bool) -> Arc<T> {
    match tokio::time::timeout(patience(), receiver.wait_for(|snapshot| is(snapshot))).await {
        Ok(Ok(snapshot)) => Arc::clone(&snapshot),
        Ok(Err(_)) => panic!("the feed ended before: {what}"),
        Err(_) => panic!("not within {:?}: {what}", patience()),
    }
}

fn pod(name: &str, node: &str, address: &str) -> Value {
    json!({
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "shop", "labels": { "app": name } },
        "spec": { "nodeName": node, "serviceAccountName": name, "containers": [{ "name": "c", "image": "i" }] },
        "status": { "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }] },
    })
}

fn namespace(name: &str) -> Value {
    json!({ "kind": "Namespace", "metadata": { "name": name, "labels": { "sidestep.io/mode": "enabled" } } })
}

fn service(name: &str, address: &str) -> Value {
    json!({
        "kind": "Service",
        "metadata": { "name": name, "namespace": "shop" },
        "spec": {
            "clusterIP": address,
            "clusterIPs": [address],
            "selector": { "app": name },
            "ports": [{ "name": "http", "port": 80, "targetPort": "web", "protocol": "TCP" }],
        },
    })
}

fn slice(service: &str, addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| json!({ "addresses": [address], "conditions": { "ready": true } }))
        .collect();
    json!({
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-1"),
            "namespace": "shop",
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
    })
}
