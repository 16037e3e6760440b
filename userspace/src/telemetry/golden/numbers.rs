//! What is counted for one set of labels.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::{Ended, Exchange};

/// Upper bounds of all histograms, in thousandths: Envoy's, and so Istio's, for milliseconds and bytes alike.
pub(in super::super) const BOUNDS: [u64; 19] = [
    500,
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
];

/// A histogram. Its count is the sum of its buckets, so that the two never disagree.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// Not cumulative; the last is what is above all bounds.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    /// In thousandths.
    sum: AtomicU64,
}

impl Histogram {
    /// Adds a value in thousandths.
    fn add(&self, value: u64) {
        let bucket = BOUNDS.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts of each bucket.
    pub(super) fn buckets(&self) -> [u64; BOUNDS.len() + 1] {
        self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed))
    }

    /// Counts up to each bound, then in all.
    pub(super) fn cumulative(&self) -> [u64; BOUNDS.len() + 1] {
        let mut so_far = 0;
        self.buckets.each_ref().map(|bucket| {
            so_far += bucket.load(Ordering::Relaxed);
            so_far
        })
    }

    /// The sum of all values in thousandths.
    pub(super) fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }
}

/// Requests. There is no number of its own for how many: each is in every histogram.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Milliseconds.
    pub(super) duration: Histogram,
    /// Of requests' bodies.
    pub(super) request_bytes: Histogram,
    /// Of answers' bodies.
    pub(super) answer_bytes: Histogram,
}

impl Requests {
    /// Adds one.
    pub(super) fn add(&self, exchange: &Exchange) {
        // In thousandths: microseconds for milliseconds. What does not fit took half a million years.
        self.duration.add(u64::try_from(exchange.duration.as_micros()).unwrap_or(u64::MAX));
        self.request_bytes.add(exchange.request_bytes.saturating_mul(1000));
        self.answer_bytes.add(exchange.answer_bytes.saturating_mul(1000));
    }
}

/// Connections that nobody looked into.
#[derive(Debug, Default)]
pub(super) struct Connections {
    /// That ended.
    pub(super) count: AtomicU64,
    /// Bytes from the side that connected.
    pub(super) sent: AtomicU64,
    /// Bytes back to it.
    pub(super) received: AtomicU64,
}

impl Connections {
    /// Adds one.
    pub(super) fn add(&self, ended: &Ended) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sent.fetch_add(ended.traffic.sent, Ordering::Relaxed);
        self.received.fetch_add(ended.traffic.received, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_at_a_bound_is_below_it() {
        let histogram = Histogram::default();
        for value in [0, 500, 501, 3_600_000_000, 3_600_000_001] {
            histogram.add(value);
        }
        let counts = histogram.cumulative();
        assert_eq!((counts[0], counts[1], counts[18], counts[19]), (2, 3, 4, 5));
        assert_eq!(histogram.sum(), 7_200_001_002);
    }
}
