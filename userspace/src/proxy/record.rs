//! What is told of one connection, and that it is told exactly once, however the connection ends.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::admission::Caller;
use super::facts::{Facts, Standing, State, Talk};
use super::instance::{Alive, Instance};
use super::tunnel::baggage::Baggage;
use crate::model::{
    ClientAddr, Decided, Direction, Ended, Fault, Identity, Live, Observer, OriginalDst, Protocol, Reason,
    Service, Side, Tier, TraceId, Traffic, UpstreamAddr, Verdict, Workload,
};

/// An open connection as the observer will hear of it; dropping it is the connection's end. Small, because it is handed from one
/// future to the next, each of which has room for it.
pub(super) struct Record(Box<Told>);

/// What is told of it, besides the facts.
struct Told {
    observer: Arc<dyn Observer>,
    since: Instant,
    facts: Arc<Facts>,
    verdict: Verdict,
    requests: u64,
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
    /// Tells the observer that a connection from `client` was accepted, and whoever asks what is known of it from now on.
    pub(super) fn open(alive: &Alive, direction: Direction, client: ClientAddr) -> Self {
        let facts = Facts::new(Some(alive.number()), direction, client);
        alive.tell(Arc::clone(&facts));
        Self::of(facts, alive.instance.observer.clone())
    }

    /// The same of a connection that is not served.
    pub(super) fn unserved(instance: &Instance, direction: Direction, client: ClientAddr) -> Self {
        Self::of(Facts::new(None, direction, client), instance.observer.clone())
    }

    fn of(facts: Arc<Facts>, observer: Arc<dyn Observer>) -> Self {
        observer.opened(facts.direction);
        Self(Box::new(Told {
            observer,
            since: Instant::now(),
            facts,
            verdict: Verdict::Proxy,
            requests: 0,
            traffic: Traffic::default(),
            outcome: Outcome::Open,
        }))
    }

    fn learn(&self, learn: impl FnOnce(&mut Live)) {
        learn(&mut self.0.facts.state().live);
    }

    /// What is known of it, for all of its requests.
    pub(super) fn facts(&self) -> &Arc<Facts> {
        &self.0.facts
    }

    /// Which way it goes.
    pub(super) fn direction(&self) -> Direction {
        self.0.facts.direction
    }

    /// Who connected.
    pub(super) fn client(&self) -> ClientAddr {
        self.0.facts.client
    }

    /// Where it wanted to go, as far as is known.
    pub(super) fn original(&self) -> Option<OriginalDst> {
        self.0.facts.state().live.original
    }

    /// Who connected proved to be.
    pub(super) fn source(&self) -> Option<Identity> {
        self.0.facts.state().live.source_identity.clone()
    }

    /// Where it wanted to go, and why it was captured.
    pub(super) fn captured(&mut self, original: OriginalDst, reason: Reason) {
        self.learn(|live| {
            live.original = Some(original);
            live.reason = reason;
        });
    }

    /// Where the instance dials.
    pub(super) fn dialling(&mut self, upstream: UpstreamAddr) {
        self.learn(|live| live.upstream = Some(upstream));
    }

    /// How its bytes move.
    pub(super) fn carried(&mut self, tier: Tier) {
        self.learn(|live| live.tier = tier);
    }

    /// What is spoken on it, and the server name that a TLS client asked for.
    pub(super) fn spoke(&mut self, protocol: Protocol, server_name: Option<Box<str>>) {
        self.learn(|live| {
            live.protocol = Some(protocol);
            live.sni = server_name;
        });
    }

    /// How many requests it carried.
    pub(super) fn carried_requests(&mut self, requests: u64) {
        self.0.requests = requests;
    }

    /// Why it was captured.
    pub(super) fn reason(&self) -> Reason {
        self.0.facts.state().live.reason
    }

    /// Who both sides are by their certificates.
    pub(super) fn proved(&mut self, source: &Identity, destination: &Identity) {
        self.learn(|live| {
            live.source_identity = Some(source.clone());
            live.destination_identity = Some(destination.clone());
        });
    }

    /// The trace that it belongs to.
    pub(super) fn traced(&mut self, trace: TraceId) {
        self.learn(|live| live.trace_id = Some(trace));
    }

    /// What the other side calls itself.
    pub(super) fn named(&mut self, said: &Baggage) {
        if let Some(workload) = &said.workload {
            let namespace = said.namespace.as_deref().unwrap_or("?");
            self.learn(|live| live.peer_workload = Some(format!("{namespace}/{workload}")));
        }
    }

    /// Who is at the other side, and the service that was dialled, as far as the directory knows.
    pub(super) fn known(&mut self, peer: Option<&Arc<Workload>>, service: Option<&Arc<Service>>) {
        self.learn(|live| {
            live.peer = peer.cloned();
            live.service = service.cloned();
        });
    }

    /// Nobody is asked whether it is let in.
    pub(super) fn exempt(&mut self) {
        self.0.facts.state().standing = Standing::Exempt;
    }

    /// Whether nobody is asked.
    pub(super) fn is_exempt(&self) -> bool {
        self.0.facts.state().standing == Standing::Exempt
    }

    /// It is let in as a probe alone.
    pub(super) fn probes(&mut self) {
        self.0.facts.state().standing = Standing::Probing;
    }

    /// Nothing of it is read any more.
    pub(super) fn turned_opaque(&mut self) {
        self.0.facts.state().talk = Talk::Opaque;
    }

    /// Requests are read.
    pub(super) fn turned_http(&mut self) {
        self.0.facts.state().talk = Talk::Http;
    }

    /// What policy says of it, from now on.
    pub(super) fn ruled(&mut self, decided: Decided) {
        if decided.says_nothing() {
            return;
        }
        self.0.observer.ruled(&decided);
        self.learn(|live| live.decided = Some(Box::new(decided)));
    }

    /// What policy says of its refusal, if it was policy.
    pub(super) fn refused_by(&mut self, decided: Option<Box<Decided>>) {
        if let Some(decided) = decided {
            self.ruled(*decided);
        }
    }

    /// The bytes that moved. They are counted here while they move, so that an aborted connection tells them too.
    pub(super) fn traffic(&mut self) -> &mut Traffic {
        &mut self.0.traffic
    }

    /// Ends it refused, for `reason`.
    pub(super) fn refuse(mut self, reason: Reason, fault: Fault) {
        self.0.verdict = Verdict::Deny;
        self.learn(|live| live.reason = reason);
        self.0.outcome = Outcome::Broken(fault);
    }

    /// Ends it with a fault.
    pub(super) fn fail(mut self, fault: Fault) {
        self.0.outcome = Outcome::Broken(fault);
    }

    /// Ends it in order.
    pub(super) fn close(mut self) {
        self.0.outcome = Outcome::Closed;
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let State { live, cut, .. } = &mut *self.facts.state();
        let fault = match std::mem::replace(&mut self.outcome, Outcome::Closed) {
            Outcome::Closed => None,
            Outcome::Broken(fault) => Some(fault),
            Outcome::Open => Some(match (cut.clone(), live.original) {
                (Some(refused), Some(original)) => {
                    let caller = Caller { identity: live.source_identity.as_ref(), client: live.client };
                    let fault = refused.fault("let connection go on", caller, original);
                    self.verdict = Verdict::Deny;
                    live.reason = refused.reason;
                    if let Some(decided) = refused.decided {
                        self.observer.ruled(&decided);
                        live.decided = Some(decided);
                    }
                    fault
                }
                _ => {
                    let why = if std::thread::panicking() {
                        "the instance panicked over it"
                    } else {
                        "the instance stopped before it ended"
                    };
                    let cut_off = io::Error::new(io::ErrorKind::ConnectionAborted, why);
                    Fault::new(Side::Agent, "serve connection", cut_off)
                }
            }),
        };
        self.observer.ended(Ended {
            connection: self.facts.connection,
            began: live.began,
            direction: live.direction,
            client: Some(live.client),
            original: live.original,
            upstream: live.upstream,
            verdict: self.verdict,
            reason: live.reason,
            tier: live.tier,
            protocol: live.protocol,
            sni: live.sni.take(),
            requests: self.requests,
            source_identity: live.source_identity.take(),
            destination_identity: live.destination_identity.take(),
            peer: live.peer.take(),
            service: live.service.take(),
            peer_workload: live.peer_workload.take(),
            trace_id: live.trace_id,
            decided: live.decided.take(),
            traffic: self.traffic,
            duration: self.since.elapsed(),
            fault,
        });
    }
}
