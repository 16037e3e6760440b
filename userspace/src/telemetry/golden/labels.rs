//! Sets of labels: what a request or a connection was between, and how it went.
//!
//! Kept as references to what the directory and certificates hold anyway, so that a set costs no text of its own.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::StatusCode;

use super::super::workload::Own;
use super::text::{self, Kind};
use crate::model::{Direction, Ended, Exchange, Flag, Flags, Identity, RequestKind, Service, Side, Workload};

/// What a value is called that is not known.
const UNKNOWN: &str = "unknown";
/// What every value is called where there are too many.
const OVERFLOW: &str = "overflow";
/// Who talked to whom.
const NAMES: [&str; 10] = [
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
];

/// The labels of something, borrowed from it: cheap to make, cheap to hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    source: Option<&'a Identity>,
    destination: Option<&'a Identity>,
    peer: Option<&'a Arc<Workload>>,
    service: Option<&'a Arc<Service>>,
    outcome: Outcome,
}

/// The same, kept.
#[derive(Clone, Debug)]
pub(super) struct Labels {
    source: Option<Identity>,
    destination: Option<Identity>,
    peer: Option<Arc<Workload>>,
    service: Option<Arc<Service>>,
    outcome: Outcome,
}

/// What is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Outcome {
    direction: Direction,
    protocol: Protocol,
    /// A status that is registered; 0 if there was no answer (Istio's word).
    status: Option<u16>,
    grpc_status: Option<u8>,
    flags: Flags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Protocol {
    Http,
    Grpc,
    Tcp,
}

impl Protocol {
    const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }
}

/// The last of gRPC's status codes (`UNAUTHENTICATED`).
const LAST_GRPC_STATUS: u16 = 16;

impl<'a> View<'a> {
    pub(super) fn of_exchange(exchange: &'a Exchange) -> Self {
        let protocol = match exchange.request.kind {
            RequestKind::Http => Protocol::Http,
            RequestKind::Grpc => Protocol::Grpc,
        };
        let status = match exchange.answer {
            None => Some(0),
            // What is not registered is the upstream's to choose, and it could choose many.
            Some(answer) => registered(answer.status).then(|| answer.status.as_u16()),
        };
        let grpc_status = exchange.answer.and_then(|answer| answer.grpc_status);
        Self {
            source: exchange.source_identity.as_ref(),
            destination: exchange.destination_identity.as_ref(),
            peer: exchange.peer.as_ref(),
            service: exchange.service.as_ref(),
            outcome: Outcome {
                direction: exchange.direction,
                protocol,
                status,
                grpc_status: grpc_status.filter(|code| *code <= LAST_GRPC_STATUS).map(|code| code as u8),
                flags: exchange.flags,
            },
        }
    }

    pub(super) fn of_ended(ended: &'a Ended) -> Self {
        let mut flags = Flags::default();
        let dialled = match ended.direction {
            Direction::Outbound => Side::Peer,
            Direction::Inbound => Side::Workload,
        };
        // One that answered and broke later was reached.
        let reached = ended.traffic.received > 0;
        if !reached && ended.fault.as_ref().is_some_and(|fault| fault.side == dialled) {
            flags.raise(Flag::UpstreamFailure);
        }
        Self {
            source: ended.source_identity.as_ref(),
            destination: ended.destination_identity.as_ref(),
            peer: ended.peer.as_ref(),
            service: ended.service.as_ref(),
            outcome: Outcome {
                direction: ended.direction,
                protocol: Protocol::Tcp,
                status: None,
                grpc_status: None,
                flags,
            },
        }
    }

    pub(super) fn to_labels(self) -> Labels {
        Labels {
            source: self.source.cloned(),
            destination: self.destination.cloned(),
            peer: self.peer.cloned(),
            service: self.service.cloned(),
            outcome: self.outcome,
        }
    }
}

fn registered(status: StatusCode) -> bool {
    status.canonical_reason().is_some()
}

/// By what is shown of it, so that a directory that was read anew goes on with the same sets.
impl Hash for View<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.outcome.hash(state);
        self.source.map(Identity::as_str).hash(state);
        self.destination.map(Identity::as_str).hash(state);
        self.peer.map(|peer| (peer.name.as_str(), peer.identity.namespace())).hash(state);
        self.service.map(|service| service.hostname.as_str()).hash(state);
    }
}

impl Labels {
    /// Whether they are those of `view`.
    pub(super) fn are(&self, view: &View<'_>) -> bool {
        self.outcome == view.outcome
            && self.source.as_ref() == view.source
            && self.destination.as_ref() == view.destination
            && both(self.peer.as_ref(), view.peer, |one, other| {
                one.name == other.name && one.identity.namespace() == other.identity.namespace()
            })
            && both(self.service.as_ref(), view.service, |one, other| one.hostname == other.hostname)
    }

    /// Whether they are of requests that were answered with 5xx or not at all.
    pub(super) const fn failed(&self) -> bool {
        matches!(self.outcome.status, Some(0 | 500..))
    }

    /// Whether they are of requests that policy refused.
    pub(super) fn denied(&self) -> bool {
        self.outcome.flags.has(Flag::Denied)
    }

    /// Writes them, each with a comma behind it.
    pub(super) fn write(&self, own: &Own, out: &mut String) {
        let Outcome { direction, protocol, status, grpc_status, flags } = self.outcome;
        let identity_of_peer = match direction {
            Direction::Outbound => self.destination.as_ref(),
            Direction::Inbound => self.source.as_ref(),
        };
        let peer = self.peer.as_deref();
        let theirs = (
            peer.map(|peer| peer.name.as_str()),
            peer.map(|peer| &peer.identity).or(identity_of_peer).map(Identity::namespace),
        );
        let ours = (Some(own.pod()), own.namespace());
        let (reporter, source, destination) = match direction {
            Direction::Outbound => ("source", ours, theirs),
            Direction::Inbound => ("destination", theirs, ours),
        };
        let hostname = self.service.as_deref().map(|service| service.hostname.as_str());
        let (name, namespace) = hostname.map_or((None, None), parts);
        let policy = if self.source.is_some() && self.destination.is_some() { "mutual_tls" } else { "none" };
        let mut label = |name, value: Option<&str>| text::label(out, name, value.unwrap_or(UNKNOWN));
        label("reporter", Some(reporter));
        label("source_workload", source.0);
        label("source_workload_namespace", source.1);
        label("source_principal", self.source.as_ref().map(Identity::as_str));
        label("destination_workload", destination.0);
        label("destination_workload_namespace", destination.1);
        label("destination_principal", self.destination.as_ref().map(Identity::as_str));
        label("destination_service", hostname);
        label("destination_service_name", name);
        label("destination_service_namespace", namespace);
        label("request_protocol", Some(protocol.word()));
        if protocol != Protocol::Tcp {
            label("response_code", status.map(|status| status.to_string()).as_deref());
            label("grpc_response_status", grpc_status.map(|status| status.to_string()).as_deref());
        }
        label("response_flags", Some(&flags.to_string()));
        label("connection_security_policy", Some(policy));
    }

    /// Writes those of the one set that stands for all that have none.
    pub(super) fn write_overflow(kind: Kind, out: &mut String) {
        let mut label = |name, value| text::label(out, name, value);
        for name in NAMES {
            label(name, OVERFLOW);
        }
        label("request_protocol", OVERFLOW);
        if kind == Kind::Requests {
            label("response_code", OVERFLOW);
            label("grpc_response_status", OVERFLOW);
        }
        label("response_flags", OVERFLOW);
        label("connection_security_policy", UNKNOWN);
    }
}

/// Name and namespace of a service by its host name: `name.namespace.svc…`, as Kubernetes makes them.
fn parts(hostname: &str) -> (Option<&str>, Option<&str>) {
    let mut labels = hostname.split('.');
    let (name, namespace, svc) = (labels.next(), labels.next(), labels.next());
    match svc {
        Some("svc") => (name, namespace),
        Some(_) | None => (Some(hostname), None),
    }
}

fn both<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>, same: impl FnOnce(&T, &T) -> bool) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other) || same(one, other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}
