//! Identity: the certificate of a workload, kept fresh, and the verification of everybody else's.
//!
//! Knows rustls, rcgen, spiffe, x509-parser and tokio; not the configuration, not the proxy. Keys stay in memory: no log,
//! no error and no `Debug` shows one.
//!
//! # Decisions
//!
//! - A peer is its SPIFFE ID, exactly one URI among the alternative names; host names and subjects count for nothing.
//! - The bundle is that of the trust domain in the peer's own name, never another.
//! - Revocation lists fail closed, see [`RevocationList`].
//! - A source that fails, or gives what a peer would refuse, leaves the old certificate in use, loudly.

mod authority;
mod bundle;
mod certificate;
mod error;
mod external;
mod fault;
pub mod host;
mod layout;
mod revocation;
mod rotation;
mod sources;
mod standing;
mod store;
mod svid;
mod tls;
mod trust;
mod verifier;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use crate::model::{Identity, TrustDomain};

pub use authority::Authority;
pub use bundle::{Bundle, MOST_AUTHORITIES};
pub use certificate::{Leaf, Validity, certificates_of_pem};
pub use error::{IdentityError, Unavailable};
pub use fault::CertificateFault;
pub use revocation::{RevocationList, read_lists};
pub use standing::{BundleStanding, Failure, ListStanding, Standing};
pub use store::Certificates;
pub use svid::{Svid, SvidError};

/// Where a workload's certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Files that somebody else writes and renews.
    Files {
        /// Holds `tls.crt`, `tls.key` and `ca.crt`.
        directory: PathBuf,
    },
    /// The SPIFFE Workload API.
    WorkloadApi {
        /// The agent's Unix socket.
        socket: PathBuf,
    },
    /// Our own authority: we issue them ourselves.
    SigningCa {
        /// Holds the authority's `tls.crt` and `tls.key`, and perhaps a `ca.crt`, which is believed, too.
        directory: PathBuf,
        /// Who the workload is.
        identity: Identity,
        /// How long one certificate is valid.
        lifetime: Duration,
    },
}

/// What the certificates of a workload are made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where they come from.
    pub source: Source,
    /// What they must say; without it, whatever they say.
    pub expected: Option<Identity>,
    /// Bundles of other trust domains, in PEM. Where the source gives a bundle for that domain, the source's counts.
    pub federated: Vec<(TrustDomain, PathBuf)>,
    /// Files of revocation lists, in PEM or DER.
    pub revocation_lists: Vec<PathBuf>,
}

#[cfg(test)]
mod tests;
