//! Counters that are kept elsewhere (in kernel maps, in the instance) and read when somebody asks for the metrics.

use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use crate::model::{Direction, Reason, Verdict};

/// A counter that is kept elsewhere, as it stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// Verdicts that the kernel gave.
    Verdicts {
        /// Which way.
        direction: Direction,
        /// What happened.
        verdict: Verdict,
        /// Why.
        reason: Reason,
        /// How often.
        count: u64,
    },
    /// Handoffs that an accepted socket claimed.
    Captures(u64),
    /// Handoffs taken back because their connecting socket closed.
    HandoffsWithdrawn(u64),
    /// Denials of which no event could be delivered.
    DenialEventsLost(u64),
    /// Pauses in accepting because descriptors or memory ran out.
    AcceptBackoffs(u64),
    /// Connections, tunnels and requests turned away because too many were open.
    ConnectionsOverLimit(u64),
    /// Tasks that broke.
    Panics {
        /// What they do.
        task: &'static str,
        /// How often.
        count: u64,
    },
    /// Access log lines that were lost.
    AccessLogDropped(u64),
    /// Access log lines about denials that were held back by their rate.
    AccessLogSuppressed(u64),
    /// Requests and connections that were counted without labels of their own.
    LabelSetsOverflowed(u64),
    /// Spans and log records, by what came of them.
    Exports {
        /// `span` or `log`.
        signal: &'static str,
        /// `sent` or `dropped`.
        outcome: &'static str,
        /// How many.
        count: u64,
    },
    /// Attempts to reach the collector that failed.
    ExportFailures(u64),
    /// Tunnels, by who dialled and what came of it.
    Tunnels {
        /// [`Direction::Outbound`] if we dialled.
        direction: Direction,
        /// `opened`, `failed` or `retried`.
        outcome: &'static str,
        /// How many.
        count: u64,
    },
    /// Attempts to replace the certificate: how many succeeded and how many failed.
    Rotations {
        /// With a new certificate.
        succeeded: u64,
        /// Without.
        failed: u64,
    },
    /// When the certificate expires, in seconds since 1970.
    CertificateExpiry(i64),
    /// When the certificate is to be replaced, in seconds since 1970.
    CertificateRotation(i64),
    /// Decisions of policies that said other than yes.
    PolicyDecisions {
        /// `namespace/name`, or `none` where no `ALLOW` rule matched.
        policy: Arc<str>,
        /// `denied`, `would_deny`, `would_allow` or `audited`.
        effect: &'static str,
        /// How many.
        count: u64,
    },
    /// Resources that are not valid, as the configuration stands.
    ResourcesRejected(u64),
}

/// Whoever keeps counters that are read only when somebody asks for the metrics.
///
/// Rows of one family from several sources add up. A closure that returns rows is one.
pub trait Source: Send + Sync {
    /// The counters as they stand now. Called on the thread that serves the metrics.
    fn rows(&self) -> Vec<Row>;
}

impl<F: Fn() -> Vec<Row> + Send + Sync> Source for F {
    fn rows(&self) -> Vec<Row> {
        self()
    }
}

/// What the families are called, which is the same for every workload.
static DESCRIBED: OnceLock<Arc<Families>> = OnceLock::new();

/// All sources, as one collector of prometheus.
#[derive(Clone)]
pub(super) struct Collected {
    sources: Arc<RwLock<Vec<Arc<dyn Source>>>>,
    /// Never filled; what the families are called.
    described: Arc<Families>,
}

impl Collected {
    pub(super) fn new() -> prometheus::Result<Self> {
        let described = match DESCRIBED.get() {
            Some(described) => Arc::clone(described),
            None => {
                let described = Arc::new(Families::new()?);
                Arc::clone(DESCRIBED.get_or_init(|| described))
            }
        };
        Ok(Self { sources: Arc::default(), described })
    }

    pub(super) fn add(&self, source: Arc<dyn Source>) {
        self.sources.write().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// What all sources say now.
    pub(super) fn rows(&self) -> Vec<Row> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        sources.iter().flat_map(|source| source.rows()).collect()
    }
}

impl fmt::Debug for Collected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner).len();
        formatter.debug_struct("Collected").field("sources", &sources).finish_non_exhaustive()
    }
}

impl Collector for Collected {
    fn desc(&self) -> Vec<&Desc> {
        self.described.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Made anew each time: a counter of prometheus cannot be set to what another counter stands at.
        let Ok(families) = Families::new() else { return Vec::new() };
        for row in self.rows() {
            families.add(row);
        }
        families.all().into_iter().flat_map(Collector::collect).collect()
    }
}

/// The labels of a family that has none.
const NONE: &[&str] = &[];

struct Families {
    verdicts: IntCounterVec,
    captures: IntCounter,
    withdrawn: IntCounter,
    events_lost: IntCounter,
    backoffs: IntCounter,
    over_limit: IntCounter,
    panics: IntCounterVec,
    dropped: IntCounter,
    suppressed: IntCounter,
    overflowed: IntCounter,
    exports: IntCounterVec,
    export_failures: IntCounter,
    tunnels: IntCounterVec,
    rotations: IntCounterVec,
    expiry: IntGaugeVec,
    rotation: IntGaugeVec,
    rejected: IntGauge,
    decisions: IntCounterVec,
}

impl Families {
    fn new() -> prometheus::Result<Self> {
        let verdicts = Opts::new("sidestep_verdicts_total", "Verdicts that the kernel gave, and why.");
        Ok(Self {
            verdicts: IntCounterVec::new(verdicts, &["verdict", "reason", "direction"])?,
            captures: IntCounter::new(
                "sidestep_captures_total",
                "Connections whose handoff reached the socket that the instance accepted.",
            )?,
            withdrawn: IntCounter::new(
                "sidestep_handoffs_withdrawn_total",
                "Handoffs taken back unclaimed because their connecting socket closed.",
            )?,
            events_lost: IntCounter::new(
                "sidestep_denial_events_lost_total",
                "Denials counted but missing from the access log, because their event was not read in time.",
            )?,
            backoffs: IntCounter::new(
                "sidestep_accept_backoffs_total",
                "Pauses in accepting because descriptors or memory ran out.",
            )?,
            over_limit: IntCounter::new(
                "sidestep_connections_over_limit_total",
                "Connections, tunnels and requests turned away because too many were open.",
            )?,
            panics: IntCounterVec::new(
                Opts::new(
                    "sidestep_panics_total",
                    "Tasks of the workload that panicked: connection (reset), and others (begun again).",
                ),
                &["task"],
            )?,
            dropped: IntCounter::new(
                "sidestep_access_log_dropped_total",
                "Access log lines lost because they could not be written, or not fast enough.",
            )?,
            suppressed: IntCounter::new(
                "sidestep_access_log_suppressed_total",
                "Access log lines about denials held back by their rate.",
            )?,
            overflowed: IntCounter::new(
                "sidestep_label_sets_overflowed_total",
                "Requests and connections counted without labels of their own, because there were too many sets of them.",
            )?,
            exports: IntCounterVec::new(
                Opts::new(
                    "sidestep_exports_total",
                    "Spans and log records for the collector, and whether it took them.",
                ),
                &["signal", "outcome"],
            )?,
            export_failures: IntCounter::new(
                "sidestep_export_failures_total",
                "Attempts to hand something to the collector that failed.",
            )?,
            tunnels: IntCounterVec::new(
                Opts::new(
                    "sidestep_tunnels_total",
                    "Tunnels, by who dialled (outbound: we did) and what came of it.",
                ),
                &["direction", "outcome"],
            )?,
            rotations: IntCounterVec::new(
                Opts::new("sidestep_certificate_rotations_total", "Attempts to replace the certificate."),
                &["outcome"],
            )?,
            // Without labels, but absent rather than zero where there is no certificate.
            expiry: IntGaugeVec::new(
                Opts::new(
                    "sidestep_certificate_expiry_timestamp_seconds",
                    "When the certificate in use expires, in seconds since 1970.",
                ),
                &[],
            )?,
            rotation: IntGaugeVec::new(
                Opts::new(
                    "sidestep_certificate_next_rotation_timestamp_seconds",
                    "When the certificate in use is to be replaced, in seconds since 1970.",
                ),
                &[],
            )?,
            rejected: IntGauge::new(
                "sidestep_resources_rejected",
                "Resources of the files in routes: that are not valid; the log says which and why.",
            )?,
            decisions: IntCounterVec::new(
                Opts::new(
                    "sidestep_policy_decisions_total",
                    "Connections and requests that a policy denied, would deny or allow (dry-run), or audited.",
                ),
                &["policy", "effect"],
            )?,
        })
    }

    fn all(&self) -> [&dyn Collector; 18] {
        [
            &self.verdicts,
            &self.captures,
            &self.withdrawn,
            &self.events_lost,
            &self.backoffs,
            &self.over_limit,
            &self.panics,
            &self.dropped,
            &self.suppressed,
            &self.overflowed,
            &self.exports,
            &self.export_failures,
            &self.tunnels,
            &self.rotations,
            &self.expiry,
            &self.rotation,
            &self.rejected,
            &self.decisions,
        ]
    }

    fn add(&self, row: Row) {
        match row {
            Row::Verdicts { direction, verdict, reason, count } => {
                self.verdicts
                    .with_label_values(&[verdict.word(), reason.word(), direction.word()])
                    .inc_by(count);
            }
            Row::Captures(count) => self.captures.inc_by(count),
            Row::HandoffsWithdrawn(count) => self.withdrawn.inc_by(count),
            Row::DenialEventsLost(count) => self.events_lost.inc_by(count),
            Row::AcceptBackoffs(count) => self.backoffs.inc_by(count),
            Row::ConnectionsOverLimit(count) => self.over_limit.inc_by(count),
            Row::Panics { task, count } => self.panics.with_label_values(&[task]).inc_by(count),
            Row::AccessLogDropped(count) => self.dropped.inc_by(count),
            Row::AccessLogSuppressed(count) => self.suppressed.inc_by(count),
            Row::LabelSetsOverflowed(count) => self.overflowed.inc_by(count),
            Row::Exports { signal, outcome, count } => {
                self.exports.with_label_values(&[signal, outcome]).inc_by(count);
            }
            Row::ExportFailures(count) => self.export_failures.inc_by(count),
            Row::Tunnels { direction, outcome, count } => {
                self.tunnels.with_label_values(&[direction.word(), outcome]).inc_by(count);
            }
            Row::Rotations { succeeded, failed } => {
                self.rotations.with_label_values(&["succeeded"]).inc_by(succeeded);
                self.rotations.with_label_values(&["failed"]).inc_by(failed);
            }
            Row::CertificateExpiry(at) => self.expiry.with_label_values(NONE).set(at),
            Row::CertificateRotation(at) => self.rotation.with_label_values(NONE).set(at),
            Row::PolicyDecisions { policy, effect, count } => {
                self.decisions.with_label_values(&[&*policy, effect]).inc_by(count);
            }
            Row::ResourcesRejected(count) => self.rejected.add(i64::try_from(count).unwrap_or(i64::MAX)),
        }
    }
}
