//! Plain text that is let in for nothing but to see whether the workload is well.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::connection::Accepted;
use super::dial::{Dial, gone, late};
use super::edge::exact;
use super::instance::Instance;
use super::leg::Leg;
use super::record::Record;
use crate::model::{Direction, Fault, OriginalDst, Reason, Side, UpstreamAddr};

/// How far plain text is let in.
#[derive(Clone)]
pub enum Admitted {
    /// Whatever it says.
    Fully,
    /// As far as it is a probe.
    Probing(Arc<dyn Probing>),
}

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
    mut record: Box<Record>,
) {
    let Accepted { seat, leg, second, client, listener, .. } = accepted;
    let upstream = UpstreamAddr(original.0);
    let patience: Duration = instance.limits().connect_timeout;
    let second = (listener.is_ipv4() == upstream.0.is_ipv4()).then_some(second);
    record.dialling(upstream);
    let dial = Dial { handoffs: &*instance.handoffs, client, upstream, direction: Direction::Inbound };
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
            let message = format!(
                "{original} takes probes from {} that say nothing, and no other plain text",
                client.0.ip()
            );
            let source = std::io::Error::new(std::io::ErrorKind::PermissionDenied, message);
            record.refuse(Reason::PlainText, Fault::new(Side::Peer, "admit probe", source));
        }
        Err(_elapsed) => {
            drop(leg);
            record.fail(Fault::new(Side::Peer, "wait for probe", late(patience)));
        }
    }
    drop(seat);
}
