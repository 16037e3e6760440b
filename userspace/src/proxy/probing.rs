//! Plain text that is let in for nothing but to see whether the workload is well.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::admission::{Caller, Refused};
use super::connection::Accepted;
use super::dial::{Dial, gone, late};
use super::edge::exact;
use super::instance::Instance;
use super::leg::Leg;
use super::record::Record;
use crate::model::{Direction, Fault, OriginalDst, Side, UpstreamAddr};

/// What is a probe.
///
/// Implemented by the workload's policy, or by a test.
pub trait Probing: Send + Sync + 'static {
    /// Whether nothing may be said at all: that the connection can be made is the probe.
    fn is_touch_only(&self) -> bool;

    /// Whether a request is one; `target` is its path with its query, as it came.
    fn permits(&self, method: &str, target: &str) -> Permit;

    /// Whether the body of a request for health (gRPC) asks for something that may be asked about.
    fn permits_check(&self, body: &[u8]) -> bool;
}

/// Nothing but probes is let in.
#[derive(Clone)]
pub(super) struct OnlyProbes {
    pub(super) probing: Arc<dyn Probing>,
    /// How all else is refused.
    pub(super) refused: Refused,
}

/// What may be decided of a request before its body is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// It is a probe.
    Granted,
    /// It is one if its body is: [`Probing::permits_check`].
    IfItsBodyIs,
    /// It is none.
    Refused,
}

/// Serves a connection that may be made and ended, and nothing else. The app is dialled as for any other: if it is not there,
/// the connection is reset.
pub(super) async fn touch(
    instance: &Instance,
    accepted: Accepted,
    original: OriginalDst,
    refused: &Refused,
    mut record: Record,
) {
    let Accepted { seat, leg, second, client, listener, .. } = accepted;
    let upstream = UpstreamAddr(original.0);
    let patience: Duration = instance.limits().connect_timeout;
    let second = (listener.is_ipv4() == upstream.0.is_ipv4()).then_some(second);
    record.dialling(upstream);
    let dial = Dial { instance, client, upstream, direction: Direction::Inbound };
    match dial.run(second, gone(&leg), patience).await {
        Ok(stream) => Leg::new(stream).end(),
        Err(fault) => {
            drop(leg);
            return record.fail(fault);
        }
    }
    let mut byte = [0];
    match timeout(patience, exact::read(&leg, &mut byte)).await {
        // However it ends, it has seen what it wanted to see.
        Ok(Ok(false) | Err(_)) => {
            leg.end();
            record.close();
        }
        Ok(Ok(true)) => {
            drop(leg);
            let caller = Caller { identity: None, client };
            let fault = refused.fault("admit what is no probe", caller, original);
            record.refused_by(refused.decided.clone());
            record.refuse(refused.reason, fault);
        }
        Err(_elapsed) => {
            drop(leg);
            record.fail(Fault::new(Side::Peer, "wait for probe", late(patience)));
        }
    }
    drop(seat);
}
