//! What the kernel refuses, told one by one in the access log.
//!
//! What the workload itself connects to is told whatever it does. What others do to it is told only as often as a log can
//! bear, since whoever reaches the workload can make such lines; and so are datagrams and sockets, which cost less to
//! make than to tell of. The kernel's counters count every refusal.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::agent::admission::Gate;
use crate::datapath::{Denial, Denials, Transport};
use crate::lasting::Lasting;
use crate::model::{Decided, Direction, Ended, Observer, Protocol, Reason, Tier, Traffic, Verdict};
use crate::telemetry::Telemetry;

/// Refusals of one kind that are told per second.
const TOLD_PER_SECOND: u32 = 100;
/// How long an allowance lasts.
const SECOND: Duration = Duration::from_secs(1);

/// Tells telemetry of every connection that the kernel refused, as far as that can be borne.
pub(super) async fn tell(
    mut denials: Denials,
    telemetry: Arc<Telemetry>,
    gate: Arc<Gate>,
    mut lasting: Lasting,
) {
    while lasting.attempt(tell_on(&mut denials, &telemetry, &gate)).await.is_none() {}
}

async fn tell_on(denials: &mut Denials, telemetry: &Telemetry, gate: &Gate) {
    let mut from_outside = Allowance::new("connections from outside", Instant::now());
    let mut uncaptured = Allowance::new("datagrams and sockets of the workload", Instant::now());
    loop {
        match denials.next().await {
            Ok(denial) => {
                let may = match (denial.direction(), denial.transport) {
                    (Direction::Inbound, _) => from_outside.take(Instant::now()),
                    (Direction::Outbound, Transport::Tcp) => true,
                    (Direction::Outbound, Transport::Udp | Transport::Other) => {
                        uncaptured.take(Instant::now())
                    }
                };
                let decided = decided(&denial, gate);
                if let Some(decided) = &decided {
                    telemetry.ruled(decided);
                }
                if may {
                    telemetry.ended(ended(&denial, decided));
                }
            }
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "refusals are not logged any more");
                return;
            }
        }
    }
}

/// What policy says of a connection that the kernel refused for it: the kernel knows no names.
fn decided(denial: &Denial, gate: &Gate) -> Option<Decided> {
    if denial.reason != Reason::Policy {
        return None;
    }
    gate.said(denial.client?, denial.original?)
}

/// A connection that ended before it began.
fn ended(denial: &Denial, decided: Option<Decided>) -> Ended {
    Ended {
        connection: None,
        began: SystemTime::now(),
        direction: denial.direction(),
        client: denial.client,
        original: denial.original,
        upstream: None,
        verdict: Verdict::Deny,
        reason: denial.reason,
        tier: Tier::Direct,
        protocol: (denial.transport == Transport::Udp).then_some(Protocol::Udp),
        sni: None,
        requests: 0,
        source_identity: None,
        destination_identity: None,
        peer: None,
        service: None,
        peer_workload: None,
        trace_id: None,
        decided: decided.map(Box::new),
        traffic: Traffic::default(),
        duration: Duration::ZERO,
        fault: None,
    }
}

/// What may still be told within this second.
struct Allowance {
    kind: &'static str,
    since: Instant,
    told: u32,
    held_back: u64,
}

impl Allowance {
    const fn new(kind: &'static str, now: Instant) -> Self {
        Self { kind, since: now, told: 0, held_back: 0 }
    }

    /// Whether one more may be told at `now`.
    fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= SECOND {
            if self.held_back > 0 {
                tracing::warn!(
                    held_back = self.held_back,
                    of = self.kind,
                    "refusals were not told one by one"
                );
            }
            *self = Self::new(self.kind, now);
        }
        let may = self.told < TOLD_PER_SECOND;
        self.told += u32::from(may);
        self.held_back += u64::from(!may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_up_to_its_allowance_and_then_again_in_the_next_second() {
        let start = Instant::now();
        let mut allowance = Allowance::new("connections", start);
        let told = |allowance: &mut Allowance, at| (0..1_000).filter(|_| allowance.take(at)).count();
        assert_eq!(told(&mut allowance, start), 100);
        assert_eq!(told(&mut allowance, start + SECOND / 2), 0);
        assert_eq!(told(&mut allowance, start + SECOND), 100);
        assert_eq!(allowance.held_back, 900);
    }
}
