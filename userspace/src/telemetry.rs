//! What is told to the outside of connections: one access log line each, and metrics.
//!
//! It deliberately decides nothing and never makes a connection wait: lines that cannot be written in time are
//! dropped and counted. Counters that live elsewhere (in kernel maps, in the instance) are read when somebody
//! asks for the metrics, through [`Source`].
//!
//! # Layout
//! - `access_log`: the log's thread, its file, what is held back
//! - `line`: one connection as a line, JSON or text
//! - `queue`: what stands between the relay's threads and the log's
//! - `allowance`: how many lines about denials pass per second
//! - `metrics`: the families and where their numbers come from

mod access_log;
mod allowance;
mod line;
mod metrics;
mod queue;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::model::{Direction, Ended, Exchange, Observer};

pub use access_log::{AccessLog, Destination};
pub use line::Format;
pub use metrics::{Metrics, Row, Source};

/// The observer of the product: metrics always, an access log while there is one.
#[derive(Debug)]
pub struct Telemetry {
    workload: String,
    metrics: Metrics,
    log: Arc<Log>,
}

/// The access log of the moment, and what its predecessors lost.
#[derive(Debug, Default)]
struct Log {
    current: RwLock<Option<AccessLog>>,
    dropped_before: AtomicU64,
    suppressed_before: AtomicU64,
}

impl Telemetry {
    /// Metrics of the workload of that name, all zero, and no access log yet.
    ///
    /// # Errors
    /// The name cannot be a label value.
    pub fn new(workload: &str) -> prometheus::Result<Self> {
        let metrics = Metrics::new(workload)?;
        let log = Arc::<Log>::default();
        metrics.add_source(Arc::clone(&log) as Arc<dyn Source>);
        Ok(Self { workload: workload.to_owned(), metrics, log })
    }

    /// Logs to `destination` from now on, or nowhere. What was left for the old log is written before this returns.
    ///
    /// # Errors
    /// The new log cannot be opened; the old one then stays.
    pub fn log_to(&self, destination: Option<(Destination, Format)>) -> io::Result<()> {
        let next = destination
            .map(|(destination, format)| AccessLog::open(destination, format, &self.workload))
            .transpose()?;
        let before = {
            let mut current = self.log.current.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, next)
        };
        if let Some(before) = before {
            self.log.dropped_before.fetch_add(before.dropped(), Ordering::Relaxed);
            self.log.suppressed_before.fetch_add(before.suppressed(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Opens the access log's file anew, after somebody moved the old one away.
    pub fn reopen_log(&self) {
        if let Some(log) = &*self.log.current.read().unwrap_or_else(PoisonError::into_inner) {
            log.reopen();
        }
    }

    /// Where counters that live elsewhere are read from whenever somebody asks for the metrics.
    pub fn add_source(&self, source: Arc<dyn Source>) {
        self.metrics.add_source(source);
    }

    /// The metrics in Prometheus' text format.
    ///
    /// # Errors
    /// They cannot be encoded.
    pub fn metrics(&self) -> prometheus::Result<String> {
        self.metrics.text()
    }
}

impl Observer for Telemetry {
    fn opened(&self, direction: Direction) {
        self.metrics.opened(direction);
    }

    fn ended(&self, ended: Ended) {
        self.metrics.ended(&ended);
        if let Some(log) = &*self.log.current.read().unwrap_or_else(PoisonError::into_inner) {
            log.write(ended);
        }
    }

    fn exchanged(&self, _exchange: Exchange) {}
}

impl Source for Log {
    fn rows(&self) -> Vec<Row> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let (dropped, suppressed) = current.as_ref().map_or((0, 0), |log| (log.dropped(), log.suppressed()));
        vec![
            Row::AccessLogDropped(self.dropped_before.load(Ordering::Relaxed) + dropped),
            Row::AccessLogSuppressed(self.suppressed_before.load(Ordering::Relaxed) + suppressed),
        ]
    }
}

#[cfg(test)]
pub(crate) mod samples {
    //! Connections as the tests of this room know them.

    use std::io;
    use std::time::{Duration, SystemTime};

    use crate::model::*;

    /// An outbound connection that was relayed and ended well.
    pub(crate) fn relayed() -> Ended {
        Ended {
            began: SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456),
            direction: Direction::Outbound,
            client: Some(ClientAddr("10.0.0.5:40000".parse().unwrap())),
            original: Some(OriginalDst("10.0.0.9:80".parse().unwrap())),
            upstream: Some(UpstreamAddr("10.0.0.9:80".parse().unwrap())),
            verdict: Verdict::Proxy,
            reason: Reason::Rule,
            tier: Tier::Relay,
            protocol: None,
            sni: None,
            requests: 0,
            source_identity: None,
            destination_identity: None,
            peer_workload: None,
            trace_id: None,
            traffic: Traffic { sent: 78, received: 1234 },
            duration: Duration::from_nanos(1_234_567),
            fault: None,
        }
    }

    /// One through a tunnel.
    pub(crate) fn tunnelled() -> Ended {
        Ended {
            upstream: Some(UpstreamAddr("10.0.0.9:15008".parse().unwrap())),
            tier: Tier::Tunnel,
            source_identity: Some("spiffe://cluster.local/ns/shop/sa/web".parse().unwrap()),
            destination_identity: Some("spiffe://cluster.local/ns/shop/sa/db".parse().unwrap()),
            peer_workload: Some("shop/db-0".to_owned()),
            trace_id: TraceParent::from_random([1; 16], [2; 8]).map(|parent| parent.trace),
            ..relayed()
        }
    }

    /// One whose upstream could not be reached.
    pub(crate) fn unreachable() -> Ended {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "Connection refused");
        Ended {
            traffic: Traffic::default(),
            fault: Some(Fault::new(Side::Peer, "dial upstream", refused)),
            ..relayed()
        }
    }

    /// A `connect()` that the kernel refused.
    pub(crate) fn denied() -> Ended {
        Ended {
            client: None,
            upstream: None,
            verdict: Verdict::Deny,
            tier: Tier::Direct,
            traffic: Traffic::default(),
            duration: Duration::ZERO,
            ..relayed()
        }
    }
}
