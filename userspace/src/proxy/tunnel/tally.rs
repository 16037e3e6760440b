//! How many tunnels there were, and how many could not be.

use std::sync::atomic::{AtomicU64, Ordering};

/// Declares the counts and who raises and reads them.
macro_rules! tally {
    ($($(#[doc = $doc:literal])+ $field:ident, $count:ident;)+) => {
        /// Counts since the instance began.
        #[derive(Debug, Default)]
        pub(in crate::proxy) struct Tally { $($field: AtomicU64),+ }

        impl Tally {
            $(pub(super) fn $count(&self) {
                self.$field.fetch_add(1, Ordering::Relaxed);
            })+

            /// The counts as they are now.
            pub(in crate::proxy) fn read(&self) -> TunnelCounts {
                TunnelCounts { $($field: self.$field.load(Ordering::Relaxed)),+ }
            }
        }

        /// How many tunnels there were, since the instance began.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct TunnelCounts { $($(#[doc = $doc])+ pub $field: u64),+ }
    };
}

tally! {
    /// Tunnels that we dialled, handshake included.
    dialled, count_dialled;
    /// Dials that came to nothing.
    failed_dials, count_failed_dial;
    /// Connections that found their pooled tunnel dead and were given another.
    retried, count_retried;
    /// Tunnels that others dialled, handshake included.
    accepted, count_accepted;
    /// Handshakes of others that came to nothing: no certificate, a bad one, or no TLS at all.
    refused, count_refused;
}
