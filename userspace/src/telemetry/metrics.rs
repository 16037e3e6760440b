//! The metrics of one workload, in a registry of its own. Every family carries the label `workload`; what a process tells of
//! itself does not.
//!
//! Bytes, durations and errors are counted when a connection ends, not while it lives.

mod collected;
mod process;

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use collected::Collected;
pub use collected::{Row, Source};
pub(super) use process::Process;
pub use process::{ProcessRow, ProcessSource};

use super::summary::Summary;
use crate::model::{Direction, Ended, Side, Tier};

/// Upper bounds of the duration histogram in seconds: from a health check to a connection pool.
const DURATIONS: [f64; 10] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0, 3600.0];

/// The metrics of one workload.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    collected: Collected,
    /// By the number of the direction.
    directions: [PerDirection; Direction::ALL.len()],
    duration: Histogram,
}

#[derive(Debug)]
struct PerDirection {
    opened: IntCounter,
    active: IntGauge,
    sent: IntCounter,
    received: IntCounter,
    /// By the order of [`Side::ALL`].
    errors: [IntCounter; Side::ALL.len()],
}

impl Metrics {
    /// The metrics of the workload of that name, all zero.
    ///
    /// # Errors
    /// prometheus refuses a family, which its fixed names and labels give it no reason to.
    pub fn new(workload: &str) -> prometheus::Result<Self> {
        let labels = HashMap::from([("workload".to_owned(), workload.to_owned())]);
        let registry = Registry::new_custom(None, Some(labels))?;
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            prometheus::Result::Ok(family)
        };
        let opened = counter(
            "sidestep_connections_opened_total",
            "Captured connections that the instance accepted.",
            &["direction"],
        )?;
        let errors = counter(
            "sidestep_connection_errors_total",
            "Connections that did not end by both sides closing, by whose fault it was.",
            &["direction", "side"],
        )?;
        let bytes = counter(
            "sidestep_bytes_total",
            "Bytes of connections that have ended; sent is from the side that connected.",
            &["direction", "flow"],
        )?;
        let active = IntGaugeVec::new(
            Opts::new("sidestep_connections_active", "Connections that are open now."),
            &["direction"],
        )?;
        registry.register(Box::new(active.clone()))?;
        let duration = Histogram::with_opts(
            HistogramOpts::new(
                "sidestep_connection_duration_seconds",
                "Time from acceptance to the end of a connection.",
            )
            .buckets(DURATIONS.to_vec()),
        )?;
        registry.register(Box::new(duration.clone()))?;
        let collected = Collected::new()?;
        registry.register(Box::new(collected.clone()))?;

        let directions = Direction::ALL.map(|direction| {
            let word = direction.word();
            PerDirection {
                opened: opened.with_label_values(&[word]),
                active: active.with_label_values(&[word]),
                sent: bytes.with_label_values(&[word, "sent"]),
                received: bytes.with_label_values(&[word, "received"]),
                errors: Side::ALL.map(|side| errors.with_label_values(&[word, side.word()])),
            }
        });
        Ok(Self { registry, collected, directions, duration })
    }

    /// Reads `source` too from now on whenever the metrics are asked for.
    pub fn add_source(&self, source: Arc<dyn Source>) {
        self.collected.add(source);
    }

    /// A connection was accepted.
    pub fn opened(&self, direction: Direction) {
        let counters = self.of(direction);
        counters.opened.inc();
        counters.active.inc();
    }

    /// A connection ended, or the kernel refused one (tier `direct`), which was never open here.
    pub fn ended(&self, ended: &Ended) {
        if ended.tier == Tier::Direct {
            return;
        }
        let counters = self.of(ended.direction);
        counters.active.dec();
        counters.sent.inc_by(ended.traffic.sent);
        counters.received.inc_by(ended.traffic.received);
        self.duration.observe(ended.duration.as_secs_f64());
        if let Some(fault) = &ended.fault {
            let [workload, peer, agent] = &counters.errors;
            match fault.side {
                Side::Workload => workload.inc(),
                Side::Peer => peer.inc(),
                Side::Agent => agent.inc(),
            }
        }
    }

    /// Adds what is counted of connections to a summary.
    pub(super) fn sum_up(&self, summary: &mut Summary) {
        for (index, counters) in self.directions.iter().enumerate() {
            summary.opened[index] += counters.opened.get();
            summary.open[index] += u64::try_from(counters.active.get()).unwrap_or_default();
            summary.sent += counters.sent.get();
            summary.received += counters.received.get();
            summary.broken += counters.errors.iter().map(IntCounter::get).sum::<u64>();
        }
    }

    /// The counters that are kept elsewhere, as they stand now.
    pub(super) fn rows(&self) -> Vec<Row> {
        self.collected.rows()
    }

    /// All families as they stand now.
    #[must_use]
    pub fn families(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    const fn of(&self, direction: Direction) -> &PerDirection {
        let [outbound, inbound] = &self.directions;
        match direction {
            Direction::Outbound => outbound,
            Direction::Inbound => inbound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::model::{Reason, Verdict};

    fn has(metrics: &Metrics, line: &str) {
        let text = prometheus::TextEncoder::new().encode_to_string(&metrics.families()).unwrap();
        assert!(text.lines().any(|found| found == line), "no line {line:?} in\n{text}");
    }

    #[test]
    fn connections_are_counted_from_opening_to_end() {
        let metrics = Metrics::new("web").unwrap();
        metrics.opened(Direction::Outbound);
        metrics.opened(Direction::Outbound);
        metrics.ended(&samples::relayed());
        has(&metrics, r#"sidestep_connections_opened_total{direction="outbound",workload="web"} 2"#);
        has(&metrics, r#"sidestep_connections_active{direction="outbound",workload="web"} 1"#);
        has(&metrics, r#"sidestep_bytes_total{direction="outbound",flow="sent",workload="web"} 78"#);
        has(&metrics, r#"sidestep_bytes_total{direction="outbound",flow="received",workload="web"} 1234"#);
        has(&metrics, r#"sidestep_connection_duration_seconds_count{workload="web"} 1"#);
        metrics.ended(&samples::unreachable());
        has(&metrics, r#"sidestep_connections_active{direction="outbound",workload="web"} 0"#);
        has(
            &metrics,
            r#"sidestep_connection_errors_total{direction="outbound",side="peer",workload="web"} 1"#,
        );
    }

    #[test]
    fn a_connect_that_the_kernel_refused_was_never_open() {
        let metrics = Metrics::new("web").unwrap();
        metrics.ended(&samples::denied());
        has(&metrics, r#"sidestep_connections_active{direction="outbound",workload="web"} 0"#);
        has(&metrics, r#"sidestep_connection_duration_seconds_count{workload="web"} 0"#);
    }

    #[test]
    fn counters_kept_elsewhere_are_read_when_asked_for_and_add_up() {
        let metrics = Metrics::new("web").unwrap();
        has(&metrics, r#"sidestep_captures_total{workload="web"} 0"#);
        let verdicts =
            |direction| Row::Verdicts { direction, verdict: Verdict::Deny, reason: Reason::Rule, count: 3 };
        metrics.add_source(Arc::new(move || {
            vec![Row::Captures(5), verdicts(Direction::Outbound), Row::DenialEventsLost(2)]
        }));
        metrics.add_source(Arc::new(|| vec![Row::Captures(7), Row::AcceptBackoffs(1)]));
        for _ in 0..2 {
            has(&metrics, r#"sidestep_captures_total{workload="web"} 12"#);
            has(
                &metrics,
                r#"sidestep_verdicts_total{direction="outbound",reason="rule",verdict="deny",workload="web"} 3"#,
            );
            has(&metrics, r#"sidestep_denial_events_lost_total{workload="web"} 2"#);
            has(&metrics, r#"sidestep_accept_backoffs_total{workload="web"} 1"#);
            has(&metrics, r#"sidestep_handoffs_withdrawn_total{workload="web"} 0"#);
        }
    }

    #[test]
    fn there_are_these_families_and_no_others() {
        let families = Metrics::new("web").unwrap().families();
        let names: Vec<_> = families.iter().map(MetricFamily::name).collect();
        // A family without a sample (verdicts, before a source is there) is not shown.
        assert_eq!(
            names,
            [
                "sidestep_accept_backoffs_total",
                "sidestep_access_log_dropped_total",
                "sidestep_access_log_suppressed_total",
                "sidestep_bytes_total",
                "sidestep_captures_total",
                "sidestep_connection_duration_seconds",
                "sidestep_connection_errors_total",
                "sidestep_connections_active",
                "sidestep_connections_opened_total",
                "sidestep_connections_over_limit_total",
                "sidestep_denial_events_lost_total",
                "sidestep_export_failures_total",
                "sidestep_handoffs_withdrawn_total",
                "sidestep_label_sets_overflowed_total",
                "sidestep_resources_rejected",
            ]
        );
    }
}
