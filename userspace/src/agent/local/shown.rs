//! A workload and a connection, as they are shown: what is not known is left out.

use serde_json::{Map, Value, json};

use super::moment;
use crate::admin::State;
use crate::agent::register::Entry;
use crate::model::{Decided, Direction, Live, Protocol, Verdict};
use crate::telemetry::Summary;

/// How a workload stands and what it did.
pub(super) fn workload(name: &str, entry: &Entry) -> Value {
    let state = match entry.readiness.state() {
        State::Starting => "starting",
        State::Ready => "ready",
        State::Draining => "draining",
    };
    let summary = entry.telemetry.summary();
    let tiers = entry.instance.upgrade().map(|instance| instance.open_by_tier()).unwrap_or_default();
    let tiers = tiers.iter().map(|(tier, count)| (tier.word().to_owned(), json!(count)));
    known([
        ("workload", json!(name)),
        ("state", json!(state)),
        ("since", json!(moment(entry.since))),
        ("identity", json!(entry.telemetry.own().identity.as_ref().map(ToString::to_string))),
        ("addresses", json!(entry.addresses)),
        ("cgroup", json!(entry.cgroup)),
        ("certificate", certificate(entry)),
        ("open", json!({ "outbound": summary.open[0], "inbound": summary.open[1] })),
        ("tiers", Value::Object(tiers.collect::<Map<_, _>>())),
        ("opened", json!({ "outbound": summary.opened[0], "inbound": summary.opened[1] })),
        ("direct", json!(summary.direct)),
        ("denied", json!(summary.denied)),
        ("broken", json!(summary.broken)),
        ("bytes", json!({ "sent": summary.sent, "received": summary.received })),
        ("requests", requests(&summary)),
    ])
}

/// Requests, and how many of them took up to so many milliseconds.
fn requests(summary: &Summary) -> Value {
    let requests = &summary.requests;
    json!({
        "count": requests.count,
        "failed": requests.failed,
        "denied": requests.denied,
        "within": requests.within,
    })
}

/// How the certificate of a workload stands.
pub(super) fn certificate(entry: &Entry) -> Value {
    let Some(certificates) = &entry.certificates else { return Value::Null };
    let standing = certificates.standing();
    known([
        ("identity", json!(standing.identity)),
        ("issuer", json!(standing.issuer)),
        ("serial", json!(standing.serial)),
        ("not_before", json!(standing.not_before)),
        ("not_after", json!(standing.not_after)),
        ("next_rotation", json!(standing.next_rotation)),
        ("failures", json!(standing.failures)),
        ("unavailable", json!(standing.unavailable)),
    ])
}

/// What is known of a connection that is open.
pub(super) fn connection(workload: &str, live: &Live) -> Value {
    let hook = match (live.direction, live.original) {
        (Direction::Inbound, _) => "sk_lookup",
        (Direction::Outbound, Some(original)) if original.0.ip().to_canonical().is_ipv6() => "connect6",
        (Direction::Outbound, _) => "connect4",
    };
    let decided = live.decided.as_deref();
    let peer = live.peer.as_ref().map(|peer| format!("{}/{}", peer.identity.namespace(), peer.name));
    known([
        ("workload", json!(workload)),
        ("connection", json!(live.connection)),
        ("direction", json!(live.direction.word())),
        ("since", json!(moment(live.began))),
        ("client", json!(live.client.to_string())),
        ("original", json!(live.original.map(|original| original.to_string()))),
        ("upstream", json!(live.upstream.map(|upstream| upstream.to_string()))),
        ("hook", json!(hook)),
        ("verdict", json!(Verdict::Proxy.word())),
        ("reason", json!(live.reason.word())),
        ("tier", json!(live.tier.word())),
        ("protocol", json!(live.protocol.map(Protocol::word))),
        ("sni", json!(live.sni)),
        ("source_identity", json!(live.source_identity.as_ref().map(ToString::to_string))),
        ("destination_identity", json!(live.destination_identity.as_ref().map(ToString::to_string))),
        ("peer", json!(peer)),
        ("peer_workload", json!(live.peer_workload)),
        ("service", json!(live.service.as_ref().map(|service| service.hostname.clone()))),
        ("trace_id", json!(live.trace_id.map(|trace| trace.to_string()))),
        ("policy", json!(decided.and_then(Decided::policy))),
        ("would_be", json!(decided.and_then(Decided::would_be))),
        ("audit", json!(decided.and_then(Decided::audit))),
        ("requests", json!(live.requests)),
    ])
}

fn known<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let known = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(known.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}
