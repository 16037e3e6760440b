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
//! - `decisions`: how often which policy denied something
//! - `metrics`: the families of our own and where their numbers come from
//! - `golden`: the families with Istio's names
//! - `exposition`: both as text, of all workloads of a process or of one
//! - `export`: spans, and lines if asked for, to an OpenTelemetry collector
//! - `workload`: whose they are

mod access_log;
mod allowance;
mod decisions;
mod export;
mod exposition;
mod golden;
mod line;
mod metrics;
mod queue;
mod workload;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::model::{Decided, Direction, Ended, Exchange, Observer, Tier};
use decisions::Decisions;
use export::Exported;
use line::Event;

pub use access_log::{AccessLog, Destination, Export, LogSettings};
pub use export::{ExportProtocol, ExportSettings, Exporter};
pub use exposition::{Exposition, Instances};
use golden::Golden;
pub use line::Format;
pub use metrics::{Metrics, Row, Source};
pub use workload::Own;

/// The observer of the product: metrics always, an access log and an exporter while there are any.
#[derive(Debug)]
pub struct Telemetry {
    own: Own,
    metrics: Metrics,
    golden: Arc<Golden>,
    decisions: Arc<Decisions>,
    outlets: Arc<Outlets>,
}

/// What else is told at the moment, and what those before it lost.
#[derive(Debug, Default)]
struct Outlets {
    log: RwLock<Option<AccessLog>>,
    exporter: RwLock<Option<Arc<Exporter>>>,
    dropped_before: AtomicU64,
    suppressed_before: AtomicU64,
    exported_before: Mutex<Exported>,
}

impl Telemetry {
    /// Metrics of that workload, all zero; no access log and no exporter yet.
    ///
    /// # Errors
    /// The name cannot be a label value.
    pub fn new(own: Own) -> prometheus::Result<Self> {
        let metrics = Metrics::new(&own.name)?;
        let outlets = Arc::<Outlets>::default();
        metrics.add_source(Arc::clone(&outlets) as Arc<dyn Source>);
        let golden = Arc::new(Golden::new(own.clone()));
        metrics.add_source(Arc::clone(&golden) as Arc<dyn Source>);
        let decisions = Arc::<Decisions>::default();
        metrics.add_source(Arc::clone(&decisions) as Arc<dyn Source>);
        Ok(Self { own, metrics, golden, decisions, outlets })
    }

    /// Exports from now on as these settings say, or not at all. What was left for the old exporter is sent before this
    /// returns, within a deadline. An access log that is exported too has to be opened anew with [`Self::log_to`].
    ///
    /// # Errors
    /// The new one cannot be started; the old one then stays.
    pub fn export_to(&self, settings: Option<&ExportSettings>) -> io::Result<()> {
        let next = settings.map(|settings| Exporter::start(settings, &self.own)).transpose()?;
        let before = std::mem::replace(&mut *write(&self.outlets.exporter), next.map(Arc::new));
        if let Some(before) = before {
            before.close(EXPORTS_LAST_WAIT);
            let mut sum = self.outlets.exported_before.lock().unwrap_or_else(PoisonError::into_inner);
            *sum += before.exported();
        }
        Ok(())
    }

    /// Logs as these settings say from now on, or not at all. What was left for the old log is written before this returns.
    ///
    /// # Errors
    /// The new log cannot be opened; the old one then stays.
    pub fn log_to(&self, settings: Option<LogSettings>) -> io::Result<()> {
        let exporter = read(&self.outlets.exporter).clone();
        let next =
            settings.map(|settings| AccessLog::open(settings, self.own.clone(), exporter)).transpose()?;
        let before = std::mem::replace(&mut *write(&self.outlets.log), next);
        if let Some(before) = before {
            self.outlets.dropped_before.fetch_add(before.dropped(), Ordering::Relaxed);
            self.outlets.suppressed_before.fetch_add(before.suppressed(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Opens the access log's file anew, after somebody moved the old one away.
    pub fn reopen_log(&self) {
        if let Some(log) = &*read(&self.outlets.log) {
            log.reopen();
        }
    }

    /// Where counters that live elsewhere are read from whenever somebody asks for the metrics.
    pub fn add_source(&self, source: Arc<dyn Source>) {
        self.metrics.add_source(source);
    }
}

/// How long an exporter that is replaced may take to send what is left.
const EXPORTS_LAST_WAIT: Duration = Duration::from_secs(3);

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a connection is worth a line. One that carried requests and ended in order is not: they had theirs.
const fn has_line(ended: &Ended) -> bool {
    !matches!(ended.tier, Tier::Http) || ended.requests == 0 || ended.fault.is_some()
}

impl Observer for Telemetry {
    fn opened(&self, direction: Direction) {
        self.metrics.opened(direction);
    }

    fn ended(&self, ended: Ended) {
        self.metrics.ended(&ended);
        self.golden.ended(&ended);
        if let Some(log) = &*read(&self.outlets.log)
            && has_line(&ended)
        {
            log.write(Event::Connection(Arc::new(ended)));
        }
    }

    fn ruled(&self, decided: &Decided) {
        self.decisions.count(decided);
    }

    fn exchanged(&self, exchange: Exchange) {
        self.golden.exchanged(&exchange);
        let log = read(&self.outlets.log);
        let exporter = read(&self.outlets.exporter);
        let exporter = exporter.as_ref().filter(|_| exchange.span.recorded());
        match (&*log, exporter) {
            (None, None) => {}
            (log, exporter) => {
                let exchange = Arc::new(exchange);
                if let Some(exporter) = exporter {
                    exporter.span(Arc::clone(&exchange));
                }
                if let Some(log) = log {
                    log.write(Event::Request(exchange));
                }
            }
        }
    }
}

impl Source for Golden {
    fn rows(&self) -> Vec<Row> {
        vec![Row::LabelSetsOverflowed(self.overflowed())]
    }
}

impl Source for Outlets {
    fn rows(&self) -> Vec<Row> {
        let log = read(&self.log);
        let (dropped, suppressed) = log.as_ref().map_or((0, 0), |log| (log.dropped(), log.suppressed()));
        let mut exported = *self.exported_before.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(exporter) = &*read(&self.exporter) {
            exported += exporter.exported();
        }
        let export = |signal, outcome, count| Row::Exports { signal, outcome, count };
        vec![
            Row::AccessLogDropped(self.dropped_before.load(Ordering::Relaxed) + dropped),
            Row::AccessLogSuppressed(self.suppressed_before.load(Ordering::Relaxed) + suppressed),
            export("span", "sent", exported.spans),
            export("span", "dropped", exported.spans_dropped),
            export("log", "sent", exported.records),
            export("log", "dropped", exported.records_dropped),
            Row::ExportFailures(exported.failures),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_carried_requests_and_ended_in_order_has_no_line() {
        let http = |requests, broke: bool| Ended {
            tier: Tier::Http,
            requests,
            fault: if broke { samples::unreachable().fault } else { None },
            ..samples::relayed()
        };
        assert!(!has_line(&http(3, false)));
        assert!(has_line(&http(0, false)) && has_line(&http(3, true)));
        assert!(has_line(&samples::relayed()) && has_line(&samples::denied()));
    }
}

#[cfg(test)]
pub(crate) mod samples;
