//! Why there are no certificates, at the start and later.

use jiff::Timestamp;
use thiserror::Error;

/// Why a workload cannot get certificates at its start.
#[derive(Debug, Error)]
#[error("expected a certificate, bundles and revocation lists within {patience}, found: {why}")]
pub struct IdentityError {
    /// How long was waited.
    pub(super) patience: humantime::FormattedDuration,
    /// What stood in the way, last.
    pub(super) why: String,
}

/// Why no handshake is begun. Connections that stand are untouched.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unavailable {
    /// Our own certificate expired, and its source gave no other.
    #[error(
        "our certificate expired at {not_after} and was not renewed; see `sidestep certs` for the last failure"
    )]
    Expired {
        /// Its last moment.
        not_after: Timestamp,
    },
    /// A configured revocation list cannot be read.
    #[error("the configured revocation lists cannot be read ({why}); nobody is let in until they can")]
    Revocation {
        /// What is wrong with them.
        why: String,
    },
    /// The TLS library refuses what it was given.
    #[error("TLS cannot be set up: {why}")]
    Tls {
        /// What it says.
        why: String,
    },
}
