//! What is told to the outside of connections: one access log line each, and metrics.
//!
//! Metrics are each workload's own. Lines and spans leave the process by one way, which its workloads share.
//!
//! It deliberately decides nothing and never makes a connection wait: lines that cannot be written in time are
//! dropped and counted. Counters that live elsewhere (in kernel maps, in the instance) are read when somebody
//! asks for the metrics, through [`Source`].
//!
//! # Layout
//! - `outlets`: the access log and the exporter of a process
//! - `teller`: a workload as they know it, and what became of its lines and spans
//! - `access_log`: the log's thread and its file
//! - `line`: one connection as a line, JSON or text
//! - `queue`, `shares`: what stands between the relay's threads and the log's, and how much of it is whose
//! - `allowance`: how many lines about denials pass per second
//! - `decisions`: how often which policy denied something
//! - `metrics`: the families of our own and where their numbers come from
//! - `golden`: the families with Istio's names
//! - `exposition`: both as text, of all workloads of a process or of one
//! - `summary`: what a workload did, in a few numbers
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
mod outlets;
mod queue;
mod shares;
mod summary;
mod teller;
mod workload;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::{Decided, Direction, Ended, Exchange, Observer, Tier, Verdict};
use decisions::Decisions;
use teller::Teller;

pub use access_log::{Destination, Export, LogSettings};
pub use export::{ExportProtocol, ExportSettings};
pub use exposition::{Exposition, Instances};
use golden::Golden;
pub use line::Format;
pub use metrics::{Metrics, ProcessRow, ProcessSource, Row, Source};
pub use outlets::{Followed, Follower, Outlets};
pub use summary::{Requests, Summary};
pub use workload::Own;

/// The observer of a workload: metrics always, lines and spans where its process tells any.
#[derive(Debug)]
pub struct Telemetry {
    teller: Arc<Teller>,
    metrics: Metrics,
    golden: Arc<Golden>,
    decisions: Arc<Decisions>,
    /// Connections that the instance refused.
    refused: AtomicU64,
    outlets: Arc<Outlets>,
}

impl Telemetry {
    /// Metrics of that workload, all zero; lines and spans go to these outlets.
    ///
    /// # Errors
    /// The name cannot be a label value.
    pub fn new(own: Own, outlets: Arc<Outlets>) -> prometheus::Result<Self> {
        let metrics = Metrics::new(&own.name)?;
        let golden = Arc::new(Golden::new(own.clone()));
        metrics.add_source(Arc::clone(&golden) as Arc<dyn Source>);
        let decisions = Arc::<Decisions>::default();
        metrics.add_source(Arc::clone(&decisions) as Arc<dyn Source>);
        let teller = Arc::new(Teller::new(own));
        metrics.add_source(Arc::clone(&teller) as Arc<dyn Source>);
        Ok(Self { teller, metrics, golden, decisions, refused: AtomicU64::new(0), outlets })
    }

    /// Whom it tells of.
    #[must_use]
    pub fn own(&self) -> &Own {
        &self.teller.own
    }

    /// Where counters that live elsewhere are read from whenever somebody asks for the metrics.
    pub fn add_source(&self, source: Arc<dyn Source>) {
        self.metrics.add_source(source);
    }
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
        if ended.verdict == Verdict::Deny && ended.tier != Tier::Direct {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        let has_line = has_line(&ended);
        self.outlets.ended(&self.teller, ended, has_line);
    }

    fn ruled(&self, decided: &Decided) {
        self.decisions.count(decided);
    }

    fn exchanged(&self, exchange: Exchange) {
        self.golden.exchanged(&exchange);
        self.outlets.tell(&self.teller, exchange);
    }
}

impl Source for Golden {
    fn rows(&self) -> Vec<Row> {
        vec![Row::LabelSetsOverflowed(self.overflowed())]
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
