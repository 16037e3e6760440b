//! How many requests an instance has in flight.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Requests in flight, all connections together.
#[derive(Debug, Default)]
pub(in crate::proxy) struct InFlight(AtomicUsize);

impl InFlight {
    /// Counts one more; whether there are no more than `most` now.
    pub(super) fn enter(&self, most: usize) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) < most
    }

    /// Counts one less.
    pub(super) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
