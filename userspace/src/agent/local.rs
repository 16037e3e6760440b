//! What an instance says of itself at its Unix socket: who it is, and every connection that is open.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;

use crate::admin::local::{DIRECTORY, Local};
use crate::identity::Certificates;
use crate::model::{Direction, Live, Verdict};
use crate::proxy::Instance;

/// Answers there; says so where it cannot be, since nothing else depends on it.
pub(super) fn serve(
    name: &str,
    workload: String,
    instance: &Arc<Instance>,
    certificates: Option<Arc<Certificates>>,
) -> Option<JoinHandle<()>> {
    let local = match Local::listen(Path::new(DIRECTORY), name) {
        Ok(local) => local,
        Err(error) => {
            tracing::warn!(%error, directory = DIRECTORY, "cannot be asked for its connections");
            return None;
        }
    };
    // It is not kept alive by being asked.
    let instance = Arc::downgrade(instance);
    Some(tokio::spawn(local.serve(move || {
        let connections = instance.upgrade().map(|instance| instance.connections()).unwrap_or_default();
        let connections: Vec<Value> = connections.iter().map(connection).collect();
        let certificate = certificates.as_ref().map(|certificates| certificates.standing());
        json!({ "workload": workload, "certificate": certificate, "connections": connections }).to_string()
    })))
}

/// What is known of a connection, without what is not.
fn connection(live: &Live) -> Value {
    let hook = match (live.direction, live.original) {
        (Direction::Inbound, _) => "sk_lookup",
        (Direction::Outbound, Some(original)) if original.0.ip().to_canonical().is_ipv6() => "connect6",
        (Direction::Outbound, _) => "connect4",
    };
    let decided = live.decided.as_deref();
    let rule =
        |ruling: &crate::model::Ruling| ruling.rule().map_or_else(|| "none".to_owned(), ToString::to_string);
    let said = |ruling: &crate::model::Ruling| {
        format!("{}:{}", if ruling.is_allowed() { "allowed" } else { "denied" }, rule(ruling))
    };
    let fields = [
        ("connection", json!(live.connection)),
        ("direction", json!(live.direction.word())),
        ("since", json!(Timestamp::try_from(live.began).ok().map(|time| time.to_string()))),
        ("client", json!(live.client.to_string())),
        ("original", json!(live.original.map(|original| original.to_string()))),
        ("upstream", json!(live.upstream.map(|upstream| upstream.to_string()))),
        ("hook", json!(hook)),
        ("verdict", json!(Verdict::Proxy.word())),
        ("reason", json!(live.reason.word())),
        ("tier", json!(live.tier.word())),
        ("protocol", json!(live.protocol.map(crate::model::Protocol::word))),
        ("sni", json!(live.sni)),
        ("source_identity", json!(live.source_identity.as_ref().map(ToString::to_string))),
        ("destination_identity", json!(live.destination_identity.as_ref().map(ToString::to_string))),
        (
            "peer",
            json!(live.peer.as_ref().map(|peer| format!("{}/{}", peer.identity.namespace(), peer.name))),
        ),
        ("peer_workload", json!(live.peer_workload)),
        ("service", json!(live.service.as_ref().map(|service| service.hostname.clone()))),
        ("trace_id", json!(live.trace_id.map(|trace| trace.to_string()))),
        ("policy", json!(decided.and_then(|decided| decided.ruling.rule()).map(ToString::to_string))),
        ("would_be", json!(decided.and_then(|decided| decided.would_be.as_ref()).map(said))),
        ("audit", json!(decided.and_then(|decided| decided.audited.as_ref()).map(ToString::to_string))),
        ("requests", json!(live.requests)),
    ];
    let known = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(known.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}
