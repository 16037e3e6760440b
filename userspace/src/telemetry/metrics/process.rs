//! What a process tells of itself, whoever it serves: no label `workload`.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts};

/// A count that is kept elsewhere, as it stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessRow {
    /// Pods that could not be enrolled.
    EnrolmentFailures {
        /// Why, in one of a few words.
        reason: &'static str,
        /// How many.
        count: u64,
    },
    /// What the container runtime asked of the plugin.
    CniRequests {
        /// `ADD`, `DEL`, `CHECK`, `GC` or `STATUS`; a hyphen where that is not known.
        command: &'static str,
        /// `done`, `refused`, `abandoned`, `invalid` or `stranger`.
        outcome: &'static str,
        /// How many.
        count: u64,
    },
    /// Whether what the API server says is up to date.
    ApiServerReachable(bool),
    /// Panics, whoever's they were.
    Panics(u64),
}

/// Whoever keeps such counts.
pub type ProcessSource = Arc<dyn Fn() -> Vec<ProcessRow> + Send + Sync>;

/// All of them.
#[derive(Default)]
pub(in super::super) struct Process(RwLock<Vec<ProcessSource>>);

impl fmt::Debug for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Process").finish_non_exhaustive()
    }
}

impl Process {
    /// Asks this one too from now on.
    pub(in super::super) fn add(&self, source: ProcessSource) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// The families as they stand now, of a process that serves so many.
    pub(in super::super) fn families(&self, instances: usize) -> Vec<MetricFamily> {
        // Their names and labels are fixed: they cannot fail.
        self.gathered(instances).unwrap_or_default()
    }

    fn gathered(&self, instances: usize) -> prometheus::Result<Vec<MetricFamily>> {
        let served = IntGauge::new("sidestep_instances", "Workloads that this process serves.")?;
        served.set(i64::try_from(instances).unwrap_or(i64::MAX));
        let failures = IntCounterVec::new(
            Opts::new("sidestep_enrolment_failures_total", "Pods that could not be enrolled, and why."),
            &["reason"],
        )?;
        let requests = IntCounterVec::new(
            Opts::new(
                "sidestep_cni_requests_total",
                "What the container runtime asked of the plugin, and what came of it.",
            ),
            &["command", "outcome"],
        )?;
        let reachable = IntGaugeVec::new(
            Opts::new("sidestep_api_server_reachable", "Whether what the API server says is up to date."),
            &[],
        )?;
        let panics = IntCounterVec::new(
            Opts::new("sidestep_process_panics_total", "Panics anywhere in this process."),
            &[],
        )?;
        let sources = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for row in sources.iter().flat_map(|source| source()) {
            match row {
                ProcessRow::EnrolmentFailures { reason, count } => {
                    failures.with_label_values(&[reason]).inc_by(count);
                }
                ProcessRow::CniRequests { command, outcome, count } => {
                    requests.with_label_values(&[command, outcome]).inc_by(count);
                }
                ProcessRow::Panics(count) => panics.with_label_values::<&str>(&[]).inc_by(count),
                ProcessRow::ApiServerReachable(reached) => {
                    reachable.with_label_values::<&str>(&[]).set(i64::from(reached));
                }
            }
        }
        let all: [&dyn Collector; 5] = [&served, &failures, &requests, &reachable, &panics];
        let families = all.into_iter().flat_map(Collector::collect);
        Ok(families.filter(|family| !family.get_metric().is_empty()).collect())
    }
}
