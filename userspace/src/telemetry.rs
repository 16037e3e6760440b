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
//! - `metrics`: the families of our own and where their numbers come from
//! - `golden`: the families with Istio's names
//! - `exposition`: both as text, of all workloads of a process or of one
//! - `workload`: whose they are

mod access_log;
mod allowance;
mod exposition;
mod golden;
mod line;
mod metrics;
mod queue;
mod workload;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::model::{Direction, Ended, Exchange, Observer};

pub use access_log::{AccessLog, Destination};
pub use exposition::{Exposition, Instances};
use golden::Golden;
pub use line::Format;
pub use metrics::{Metrics, Row, Source};
pub use workload::Own;

/// The observer of the product: metrics always, an access log while there is one.
#[derive(Debug)]
pub struct Telemetry {
    own: Own,
    metrics: Metrics,
    golden: Arc<Golden>,
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
    /// Metrics of that workload, all zero, and no access log yet.
    ///
    /// # Errors
    /// The name cannot be a label value.
    pub fn new(own: Own) -> prometheus::Result<Self> {
        let metrics = Metrics::new(&own.name)?;
        let log = Arc::<Log>::default();
        metrics.add_source(Arc::clone(&log) as Arc<dyn Source>);
        let golden = Arc::new(Golden::new(own.clone()));
        metrics.add_source(Arc::clone(&golden) as Arc<dyn Source>);
        Ok(Self { own, metrics, golden, log })
    }

    /// Logs to `destination` from now on, or nowhere. What was left for the old log is written before this returns.
    ///
    /// # Errors
    /// The new log cannot be opened; the old one then stays.
    pub fn log_to(&self, destination: Option<(Destination, Format)>) -> io::Result<()> {
        let next = destination
            .map(|(destination, format)| AccessLog::open(destination, format, &self.own.name))
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
}

impl Observer for Telemetry {
    fn opened(&self, direction: Direction) {
        self.metrics.opened(direction);
    }

    fn ended(&self, ended: Ended) {
        self.metrics.ended(&ended);
        self.golden.ended(&ended);
        if let Some(log) = &*self.log.current.read().unwrap_or_else(PoisonError::into_inner) {
            log.write(ended);
        }
    }

    fn exchanged(&self, exchange: Exchange) {
        self.golden.exchanged(&exchange);
    }
}

impl Source for Golden {
    fn rows(&self) -> Vec<Row> {
        vec![Row::LabelSetsOverflowed(self.overflowed())]
    }
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
pub(crate) mod samples;
