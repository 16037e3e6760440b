//! What is told of one request, and that it is told exactly once, however the request ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderName, StatusCode};

use super::front::Front;
use super::standing::Permit;
use super::under_way::Held;
use crate::model::{
    Answer, Decided, Direction, Exchange, Fault, Flag, Flags, Identity, Request as Asked, RequestKind,
    Service, Span, UpstreamAddr, Workload,
};
use crate::proxy::admission::Refused;
use crate::proxy::balance::Picked;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// A request as the observer will hear of it; dropping it is the request's end.
pub(in crate::proxy) struct Telling {
    front: Arc<Front>,
    since: Instant,
    attempt: Option<Instant>,
    /// Taken when it is told.
    exchange: Option<Box<Exchange>>,
    /// Bytes of the request's body, counted where they pass, and whether they have come to an end.
    uploaded: Option<(Arc<AtomicU64>, Arc<AtomicBool>)>,
    picked: Option<Picked>,
    /// A place among those that a limit leaves to its service.
    permit: Option<Permit>,
    /// Its place among those that may have to be asked about again.
    held: Option<Arc<Held>>,
    /// Bytes from and to the client before what it carries besides HTTP.
    carried: Option<(u64, u64)>,
    whole: bool,
}

impl Telling {
    /// Begins with a request whose head has arrived.
    pub(super) fn begin(front: &Arc<Front>, request: &Parts, span: Span) -> Self {
        front.watch.begin_request();
        let (source_identity, destination_identity) = front.proved.clone().unzip();
        let exchange = Exchange {
            connection: front.facts.connection,
            began: SystemTime::now(),
            direction: front.direction,
            client: front.client,
            original: Some(front.original),
            upstream: None,
            source_identity,
            destination_identity,
            peer: front.peer.clone(),
            service: None,
            request: asked(request),
            answer: None,
            span,
            route: None,
            attempts: 0,
            request_bytes: 0,
            answer_bytes: 0,
            duration: std::time::Duration::ZERO,
            upstream_duration: None,
            decided: None,
            flags: Flags::default(),
            fault: None,
        };
        Self {
            front: Arc::clone(front),
            since: Instant::now(),
            attempt: None,
            exchange: Some(Box::new(exchange)),
            uploaded: None,
            picked: None,
            permit: None,
            held: None,
            carried: None,
            whole: false,
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Exchange)) {
        if let Some(exchange) = &mut self.exchange {
            change(exchange);
        }
    }

    /// Policy may be asked about it from now on; its head is kept if it is given.
    pub(super) fn enter(&mut self, head: Option<&Parts>) {
        self.held = Some(self.front.facts.under_way.enter(head));
    }

    /// What policy says of it.
    pub(super) fn ruled(&mut self, decided: Decided) {
        if decided.says_nothing() {
            return;
        }
        self.front.instance.observer.ruled(&decided);
        self.change(|exchange| exchange.decided = Some(Box::new(decided)));
    }

    /// If it is ended because policy does not let it through any more, that is told.
    fn note_cut(&mut self) {
        let Some(held) = self.held.take() else { return };
        let front = Arc::clone(&self.front);
        front.facts.under_way.leave(&held);
        let cut = match held.was_cut() {
            Some(decided) => Some(Refused::by_policy(decided.clone())),
            None => front.facts.state().cut.clone(),
        };
        if let Some(refused) = cut.filter(|_| !self.whole) {
            let original = front.judged_at().unwrap_or(front.original);
            self.failed(Flag::Denied, Some(refused.fault("let request go on", front.caller(), original)));
            if let Some(decided) = refused.decided {
                self.ruled(*decided);
            }
        }
    }

    /// Who was asked.
    pub(super) fn chosen(&mut self, service: Option<Arc<Service>>, peer: Option<Arc<Workload>>) {
        let outbound = self.front.direction == Direction::Outbound;
        self.change(|exchange| {
            exchange.service = service;
            if outbound {
                exchange.peer = peer;
            }
        });
    }

    /// The service that was asked, wherever the request is sent.
    pub(super) fn asked_of(&mut self, service: Arc<Service>) {
        self.change(|exchange| exchange.service = Some(service));
    }

    /// Who it is sent to.
    pub(super) fn sent_to(&mut self, peer: Option<Arc<Workload>>) {
        self.change(|exchange| exchange.peer = peer);
    }

    /// The rule that it met.
    pub(super) fn routed(&mut self, label: Arc<str>) {
        self.change(|exchange| exchange.route = Some(label));
    }

    /// It is under way, as far as limits are concerned, to its end.
    pub(super) fn under_way(&mut self, permit: Option<Permit>) {
        self.permit = permit;
    }

    /// What counts the bytes of the request's body, if it has one.
    pub(super) fn upload_count(&self) -> Option<Arc<AtomicU64>> {
        self.uploaded.as_ref().map(|(count, _)| Arc::clone(count))
    }

    /// The request has a body, with what counts it and what tells its end.
    pub(super) fn uploading(&mut self, count: Arc<AtomicU64>, ended: Arc<AtomicBool>) {
        self.uploaded = Some((count, ended));
    }

    /// What tells the end of the request's body, if it has one.
    pub(super) fn upload_ended(&self) -> Option<Arc<AtomicBool>> {
        self.uploaded.as_ref().map(|(_, ended)| Arc::clone(ended))
    }

    /// The request counts for this endpoint to its end.
    pub(super) fn counts_for(&mut self, picked: Option<Picked>) {
        self.picked = picked;
    }

    /// It is sent to `upstream`.
    pub(super) fn attempted(&mut self, upstream: UpstreamAddr) {
        self.attempt = Some(Instant::now());
        self.change(|exchange| {
            exchange.upstream = Some(upstream);
            exchange.attempts += 1;
        });
    }

    /// Who both sides of the way to the upstream are by their certificates.
    pub(super) fn proved(&mut self, source: &Identity, destination: &Identity) {
        self.change(|exchange| {
            exchange.source_identity = Some(source.clone());
            exchange.destination_identity = Some(destination.clone());
        });
    }

    /// The head of the upstream's answer has come.
    pub(super) fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        let took = self.attempt.map(|began| began.elapsed());
        self.change(|exchange| {
            exchange.upstream_duration = took;
            exchange.answer = Some(Answer { status, grpc_status: grpc_status(headers) });
        });
    }

    /// We answer ourselves.
    pub(super) fn answered_ourselves(&mut self, status: StatusCode, grpc_status: Option<u16>) {
        self.change(|exchange| exchange.answer = Some(Answer { status, grpc_status }));
    }

    /// The answer's trailers have come.
    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(status) = grpc_status(trailers) {
            self.change(|exchange| {
                if let Some(answer) = &mut exchange.answer {
                    answer.grpc_status = Some(status);
                }
            });
        }
    }

    /// Bytes of the answer's body have come.
    pub(super) fn downloaded(&mut self, bytes: usize) {
        self.change(|exchange| exchange.answer_bytes += bytes as u64);
    }

    /// Something went other than it should.
    pub(super) fn failed(&mut self, flag: Flag, fault: Option<Fault>) {
        self.change(|exchange| {
            exchange.flags.raise(flag);
            if exchange.fault.is_none() {
                exchange.fault = fault;
            }
        });
    }

    /// What was asked.
    pub(super) fn kind(&self) -> RequestKind {
        self.exchange.as_ref().map_or(RequestKind::Http, |exchange| exchange.request.kind)
    }

    /// HTTP is over: what passes from now on counts as both bodies, and so do `ahead` bytes that the client had sent before.
    pub(super) fn carrying(&mut self, ahead: usize) {
        let (sent, received) = self.front.watch.traffic();
        self.carried = Some((sent.saturating_sub(ahead as u64), received));
    }

    /// All of the answer has been handed on.
    pub(super) const fn whole(&mut self) {
        self.whole = true;
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.front.watch.end_request();
        self.front.instance.requests.leave();
        self.note_cut();
        let Some(mut exchange) = self.exchange.take() else { return };
        if !self.whole && exchange.flags == Flags::default() {
            exchange.flags.raise(Flag::DownstreamGone);
        }
        exchange.request_bytes = self.uploaded.as_ref().map_or(0, |(count, _)| count.load(Ordering::Relaxed));
        if let Some((sent, received)) = self.carried {
            let (sent_by_now, received_by_now) = self.front.watch.traffic();
            exchange.request_bytes += sent_by_now - sent;
            exchange.answer_bytes += received_by_now - received;
        }
        exchange.duration = self.since.elapsed();
        self.front.instance.observer.exchanged(*exchange);
    }
}

fn asked(request: &Parts) -> Asked {
    let headers = &request.headers;
    let text =
        |name: &HeaderName| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into());
    let authority = request.uri.authority().map(|authority| authority.as_str().into());
    let target = match request.uri.path_and_query() {
        Some(target) => target.as_str().into(),
        None => request.uri.to_string().into(),
    };
    Asked {
        method: request.method.clone(),
        authority: authority.or_else(|| text(&HOST)),
        target,
        version: request.version,
        kind: kind(headers),
        user_agent: text(&USER_AGENT),
        request_id: text(&REQUEST_ID),
    }
}

/// Whether a request is gRPC, by its content type.
fn kind(headers: &HeaderMap) -> RequestKind {
    const GRPC: &[u8] = b"application/grpc";
    let is_grpc = headers.get(CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes();
        value.starts_with(GRPC) && matches!(value.get(GRPC.len()), None | Some(b'+' | b';'))
    });
    if is_grpc { RequestKind::Grpc } else { RequestKind::Http }
}

fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}
