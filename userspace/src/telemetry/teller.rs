//! A workload as the outlets know it: whose its lines and spans are, how many of its denials pass, and what became of all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::allowance::Allowance;
use super::metrics::{Row, Source};
use super::workload::Own;

/// Most lines about denials of one workload per second.
const DENIALS_PER_SECOND: u32 = 100;

/// Whoever leaves lines and spans. Everything that waits somewhere refers to its own.
#[derive(Debug)]
pub(super) struct Teller {
    pub(super) own: Own,
    denials: Mutex<Allowance>,
    suppressed: AtomicU64,
    dropped: AtomicU64,
    pub(super) spans: Exported,
    pub(super) records: Exported,
    failures: AtomicU64,
}

/// What became of its spans, or of its log records.
#[derive(Debug, Default)]
pub(super) struct Exported {
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl Exported {
    /// A collector took so many.
    pub(super) fn count_sent(&self, count: u64) {
        self.sent.fetch_add(count, Ordering::Relaxed);
    }

    /// So many had no room, or no collector took them.
    pub(super) fn count_dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// How many were sent and how many were not.
    pub(super) fn read(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed))
    }
}

impl Teller {
    /// One that has told nothing yet.
    pub(super) fn new(own: Own) -> Self {
        Self {
            own,
            denials: Mutex::new(Allowance::new(DENIALS_PER_SECOND, Instant::now())),
            suppressed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            spans: Exported::default(),
            records: Exported::default(),
            failures: AtomicU64::new(0),
        }
    }

    /// Whether one more line about a denial may be written now; counts it if not.
    pub(super) fn may_tell_denial(&self) -> bool {
        let may = self.denials.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now());
        if !may {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
        }
        may
    }

    /// A line was lost.
    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt to hand something of it to the collector failed.
    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// How many lines were lost because there was no room for them or writing failed.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How many lines about denials were held back by their rate.
    pub(super) fn suppressed(&self) -> u64 {
        self.suppressed.load(Ordering::Relaxed)
    }

    /// How many attempts to hand something of it to the collector failed.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

impl Source for Teller {
    fn rows(&self) -> Vec<Row> {
        let export = |signal, outcome, count| Row::Exports { signal, outcome, count };
        let ((spans, spans_dropped), (records, records_dropped)) = (self.spans.read(), self.records.read());
        vec![
            Row::AccessLogDropped(self.dropped()),
            Row::AccessLogSuppressed(self.suppressed()),
            export("span", "sent", spans),
            export("span", "dropped", spans_dropped),
            export("log", "sent", records),
            export("log", "dropped", records_dropped),
            Row::ExportFailures(self.failures()),
        ]
    }
}
