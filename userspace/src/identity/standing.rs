//! How the certificates of a workload stand, for `sidestep certs`, the admin endpoint and metrics.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How the certificates of a workload stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Who the workload is.
    pub identity: String,
    /// The distinguished name of who issued its certificate.
    pub issuer: String,
    /// The number of its certificate, hexadecimal with colons.
    pub serial: String,
    /// The first moment of its certificate.
    pub not_before: Timestamp,
    /// The last moment of its certificate.
    pub not_after: Timestamp,
    /// When its source will be asked for the next one; sources that send of their own accord may be earlier.
    pub next_rotation: Timestamp,
    /// Whom it believes, by trust domain.
    pub bundles: BTreeMap<String, BundleStanding>,
    /// What the revocation lists in use say about themselves.
    pub revocation_lists: Vec<ListStanding>,
    /// What refuses new handshakes now, if anything does.
    pub unavailable: Option<String>,
    /// What went wrong last, if anything ever did.
    pub last_failure: Option<Failure>,
    /// How many certificates have replaced another one.
    pub rotations: u64,
    /// How many attempts to read or obtain something have failed.
    pub failures: u64,
}

/// How a bundle stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleStanding {
    /// How many authorities are in it.
    pub authorities: usize,
    /// When the first of them expires.
    pub earliest_expiry: Option<Timestamp>,
}

/// How a revocation list stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListStanding {
    /// The distinguished name of its issuer.
    pub issuer: String,
    /// How many certificates are on it.
    pub revoked: usize,
    /// Until when it counts.
    pub next_update: Option<Timestamp>,
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What.
    pub message: String,
    /// When it was last seen.
    pub time: Timestamp,
    /// Whether it is over.
    pub recovered: bool,
}
