//! What is told of one connection, and that it is told exactly once, however the connection ends.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::tunnel::baggage::Baggage;
use crate::model::{
    ClientAddr, Direction, Ended, Fault, Identity, Observer, OriginalDst, Protocol, Reason, Service, Side,
    Tier, TraceId, Traffic, UpstreamAddr, Verdict, Workload,
};

/// An open connection as the observer will hear of it; dropping it is the connection's end.
pub(super) struct Record {
    observer: Arc<dyn Observer>,
    began: SystemTime,
    since: Instant,
    direction: Direction,
    client: ClientAddr,
    original: Option<OriginalDst>,
    upstream: Option<UpstreamAddr>,
    verdict: Verdict,
    reason: Reason,
    tier: Tier,
    protocol: Option<Protocol>,
    sni: Option<Box<str>>,
    requests: u64,
    source: Option<Identity>,
    destination: Option<Identity>,
    trace: Option<TraceId>,
    peer_workload: Option<String>,
    peer: Option<Arc<Workload>>,
    service: Option<Arc<Service>>,
    traffic: Traffic,
    outcome: Outcome,
}

/// How a connection came to its end.
enum Outcome {
    /// It has not: whoever drops the record now cuts it off.
    Open,
    /// Both sides closed.
    Closed,
    /// Something else ended it.
    Broken(Fault),
}

impl Record {
    /// Tells the observer that a connection from `client` was accepted. Boxed, because it is handed from one future to
    /// the next, each of which would have room for it.
    pub(super) fn open(observer: Arc<dyn Observer>, direction: Direction, client: ClientAddr) -> Box<Self> {
        observer.opened(direction);
        Box::new(Self {
            observer,
            began: SystemTime::now(),
            since: Instant::now(),
            direction,
            client,
            original: None,
            upstream: None,
            verdict: Verdict::Proxy,
            reason: Reason::Default,
            tier: Tier::Relay,
            protocol: None,
            sni: None,
            requests: 0,
            source: None,
            destination: None,
            trace: None,
            peer_workload: None,
            peer: None,
            service: None,
            traffic: Traffic::default(),
            outcome: Outcome::Open,
        })
    }

    /// Where it wanted to go, and why it was captured.
    pub(super) const fn captured(&mut self, original: OriginalDst, reason: Reason) {
        self.original = Some(original);
        self.reason = reason;
    }

    /// Where the instance dials.
    pub(super) const fn dialling(&mut self, upstream: UpstreamAddr) {
        self.upstream = Some(upstream);
    }

    /// How its bytes move.
    pub(super) const fn carried(&mut self, tier: Tier) {
        self.tier = tier;
    }

    /// What is spoken on it, and the server name that a TLS client asked for.
    pub(super) fn spoke(&mut self, protocol: Protocol, server_name: Option<Box<str>>) {
        self.protocol = Some(protocol);
        self.sni = server_name;
    }

    /// How many requests it carried.
    pub(super) const fn carried_requests(&mut self, requests: u64) {
        self.requests = requests;
    }

    /// Why it was captured.
    pub(super) const fn reason(&self) -> Reason {
        self.reason
    }

    /// Who both sides are by their certificates.
    pub(super) fn proved(&mut self, source: &Identity, destination: &Identity) {
        self.source = Some(source.clone());
        self.destination = Some(destination.clone());
    }

    /// The trace that it belongs to.
    pub(super) const fn traced(&mut self, trace: TraceId) {
        self.trace = Some(trace);
    }

    /// What the other side calls itself.
    pub(super) fn named(&mut self, said: &Baggage) {
        if let Some(workload) = &said.workload {
            let namespace = said.namespace.as_deref().unwrap_or("?");
            self.peer_workload = Some(format!("{namespace}/{workload}"));
        }
    }

    /// Who is at the other side, and the service that was dialled, as far as the directory knows.
    pub(super) fn known(&mut self, peer: Option<&Arc<Workload>>, service: Option<&Arc<Service>>) {
        self.peer = peer.cloned();
        self.service = service.cloned();
    }

    /// The bytes that moved. They are counted here while they move, so that an aborted connection tells them too.
    pub(super) const fn traffic(&mut self) -> &mut Traffic {
        &mut self.traffic
    }

    /// Ends it refused, for `reason`.
    pub(super) fn refuse(mut self, reason: Reason, fault: Fault) {
        self.verdict = Verdict::Deny;
        self.reason = reason;
        self.outcome = Outcome::Broken(fault);
    }

    /// Ends it with a fault.
    pub(super) fn fail(mut self, fault: Fault) {
        self.outcome = Outcome::Broken(fault);
    }

    /// Ends it in order.
    pub(super) fn close(mut self) {
        self.outcome = Outcome::Closed;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let fault = match std::mem::replace(&mut self.outcome, Outcome::Closed) {
            Outcome::Closed => None,
            Outcome::Broken(fault) => Some(fault),
            Outcome::Open => {
                let cut_off =
                    io::Error::new(io::ErrorKind::ConnectionAborted, "the instance stopped before it ended");
                Some(Fault::new(Side::Agent, "serve connection", cut_off))
            }
        };
        self.observer.ended(Ended {
            began: self.began,
            direction: self.direction,
            client: Some(self.client),
            original: self.original,
            upstream: self.upstream,
            verdict: self.verdict,
            reason: self.reason,
            tier: self.tier,
            protocol: self.protocol,
            sni: self.sni.take(),
            requests: self.requests,
            source_identity: self.source.take(),
            destination_identity: self.destination.take(),
            peer: self.peer.take(),
            service: self.service.take(),
            peer_workload: self.peer_workload.take(),
            trace_id: self.trace,
            traffic: self.traffic,
            duration: self.since.elapsed(),
            fault,
        });
    }
}
