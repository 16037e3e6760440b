//! What the kubelet asks the app's containers in plain text, so that the sidecar lets exactly that pass where all else has to
//! be mutual TLS.
//!
//! Probes over HTTPS and by command are not among them: the first are no plain text, the second never leave the container.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// What may be asked at one port.
#[derive(Default)]
struct Asked {
    http: BTreeSet<String>,
    grpc: BTreeSet<String>,
    tcp: bool,
}

/// The probes and handlers of the containers of a pod, as entries of `inbound.probes`, by port.
pub(super) fn of(spec: &Value) -> Vec<Value> {
    let mut asked: BTreeMap<u64, Asked> = BTreeMap::new();
    let containers = ["initContainers", "containers"].into_iter().flat_map(|list| array(&spec[list]));
    for container in containers {
        for handler in handlers(container) {
            let (http, tcp, grpc) = (&handler["httpGet"], &handler["tcpSocket"], &handler["grpc"]);
            if let Some(port) = port(http, container)
                && http["scheme"].as_str().unwrap_or("HTTP") == "HTTP"
            {
                // An absent path is `/`, and one without the slash gets it (Kubernetes, pkg/probe/http/request.go).
                let path = http["path"].as_str().unwrap_or("/");
                let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
                asked.entry(port).or_default().http.insert(path);
            }
            if let Some(port) = port(tcp, container) {
                asked.entry(port).or_default().tcp = true;
            }
            if let Some(port) = port(grpc, container) {
                let service = grpc["service"].as_str().unwrap_or_default();
                asked.entry(port).or_default().grpc.insert(service.to_owned());
            }
        }
    }
    asked.into_iter().map(|(port, asked)| asked.entry(port)).collect()
}

impl Asked {
    fn entry(self, port: u64) -> Value {
        let mut entry = json!({ "port": port });
        if !self.http.is_empty() {
            entry["http"] = json!(self.http);
        }
        if !self.grpc.is_empty() {
            entry["grpc"] = json!(self.grpc);
        }
        if self.tcp {
            entry["tcp"] = json!(true);
        }
        entry
    }
}

/// Everything in a container that makes the kubelet connect to it.
fn handlers(container: &Value) -> impl Iterator<Item = &Value> {
    let probes = ["livenessProbe", "readinessProbe", "startupProbe"].map(|probe| &container[probe]);
    let hooks = ["postStart", "preStop"].map(|hook| &container["lifecycle"][hook]);
    probes.into_iter().chain(hooks)
}

/// The port that a handler names by number, or by the name that the container has given it.
fn port(handler: &Value, container: &Value) -> Option<u64> {
    match &handler["port"] {
        Value::Number(number) => number.as_u64(),
        Value::String(name) => {
            let named = array(&container["ports"]).find(|port| port["name"] == name.as_str());
            named.and_then(|port| port["containerPort"].as_u64()).or_else(|| name.parse().ok())
        }
        _ => None,
    }
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
