//! What the agent of a node tells of itself in its metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cni::server::{Outcome, Outcomes};
use crate::kubernetes::Feed;
use crate::telemetry::{Instances, ProcessRow};

/// Pods that were not enrolled although they were to be.
#[derive(Debug, Default)]
pub(super) struct Unenrolled {
    refused: AtomicU64,
    failed: AtomicU64,
}

impl Unenrolled {
    /// One cannot be served, whatever is tried.
    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt to serve one failed.
    pub(super) fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Tells these counts, and whether the feed is up to date. Neither is kept alive by being asked.
pub(super) fn tell(metrics: &Instances, unenrolled: &Arc<Unenrolled>, feed: &Arc<Feed>) {
    let (unenrolled, feed) = (Arc::clone(unenrolled), Arc::downgrade(feed));
    metrics.add_source(Arc::new(move || {
        let failures = |reason, count: &AtomicU64| ProcessRow::EnrolmentFailures {
            reason,
            count: count.load(Ordering::Relaxed),
        };
        let reachable = feed.upgrade().is_some_and(|feed| feed.reachable());
        vec![
            failures("refused", &unenrolled.refused),
            failures("failed", &unenrolled.failed),
            ProcessRow::ApiServerReachable(reachable),
        ]
    }));
}

/// Tells what the plugin asked for.
pub(super) fn tell_requests(metrics: &Instances, outcomes: Arc<Outcomes>) {
    metrics.add_source(Arc::new(move || {
        let row = |outcome: Outcome| ProcessRow::CniRequests {
            command: outcome.command(),
            outcome: outcome.word(),
            count: outcomes.of(outcome),
        };
        Outcome::all().map(row).collect()
    }));
}
