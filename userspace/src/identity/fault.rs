//! Why a certificate is not accepted: what was expected and what was found, and the TLS alert that fits.
//!
//! Certificates are public, so their words may be told; keys never come near this type.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::{CertificateError, OtherError};
use thiserror::Error;

use crate::model::{Identity, IdentityError};

/// Most certificates in a chain.
pub(super) const LONGEST_CHAIN: usize = 8;

/// Why a certificate is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateFault {
    /// None was shown.
    #[error("expected a certificate, found none")]
    Missing,
    /// More than anybody needs.
    #[error("expected a chain of at most {LONGEST_CHAIN} certificates, found {found}")]
    TooLong {
        /// How many there are.
        found: usize,
    },
    /// Not DER, not X.509 version 3, or an extension that cannot be read.
    #[error("expected an X.509 version 3 certificate in DER, found one that is malformed: {what}")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
    /// Not exactly one URI among the subject's alternative names.
    #[error("expected exactly one URI among the alternative names, found {found}")]
    NotOneName {
        /// How many there are.
        found: usize,
    },
    /// The URI is no identity.
    #[error("the URI among the alternative names is no identity: {0}")]
    Name(#[from] IdentityError),
    /// It is somebody else's.
    #[error("expected the identity {expected}, found {found}")]
    OtherIdentity {
        /// Who was expected; several, if any of them would have done.
        expected: String,
        /// Who it is.
        found: Identity,
    },
    /// There is no bundle for its trust domain.
    #[error("expected an identity of a trust domain with a bundle ({known}), found {found}")]
    TrustDomain {
        /// The trust domains with a bundle.
        known: String,
        /// The trust domain of the identity.
        found: String,
    },
    /// Its time is over, or that of one that vouches for it.
    #[error("expected a certificate that is valid now, found one that expired at {not_after}")]
    Expired {
        /// Its last moment.
        not_after: Timestamp,
    },
    /// Its time has not come, or that of one that vouches for it.
    #[error(
        "expected a certificate that is valid now, found one that is not valid before {not_before}; compare the clocks"
    )]
    NotYetValid {
        /// Its first moment.
        not_before: Timestamp,
    },
    /// Nobody in the bundle of its own trust domain vouches for it.
    #[error(
        "expected a certificate that the bundle of {trust_domain} vouches for, found one with another issuer"
    )]
    UnknownIssuer {
        /// The trust domain of the identity.
        trust_domain: String,
    },
    /// A signature that is wrong or of an algorithm that is not taken.
    #[error("expected valid signatures of today's algorithms, found {found}")]
    Signature {
        /// What is wrong.
        found: String,
    },
    /// The public key is too short or of a kind that is not taken.
    #[error(
        "expected a key of ECDSA (P-256, P-384, P-521), Ed25519, or RSA with at least 2048 bits, found {found}"
    )]
    WeakKey {
        /// What key it is.
        found: String,
    },
    /// It was not issued for what it is used for.
    #[error("expected a certificate issued for this use, found {found}")]
    Usage {
        /// What it says.
        found: String,
    },
    /// It, or one that vouches for it, is on a revocation list.
    #[error("expected a certificate that is not revoked, found one on a revocation list")]
    Revoked,
    /// The configured revocation lists cannot say whether it is revoked.
    #[error(
        "expected revocation lists that are readable, signed and current, found {found}; until then nobody is let in"
    )]
    Revocation {
        /// What is wrong with the lists.
        found: String,
    },
}

impl CertificateFault {
    /// The fault inside an error of TLS, if our verifier put it there.
    #[must_use]
    pub fn of(error: &rustls::Error) -> Option<&Self> {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                inner.downcast_ref::<Carried>().map(|carried| &carried.0)
            }
            _ => None,
        }
    }
}

/// A fault on its way through rustls.
#[derive(Debug, Error)]
#[error(transparent)]
struct Carried(CertificateFault);

/// The variant decides the alert that the peer is sent. Where a plain variant loses no fact it is taken; the others
/// carry the fault itself (`certificate_unknown`), for the access log of this side.
impl From<CertificateFault> for CertificateError {
    fn from(fault: CertificateFault) -> Self {
        match fault {
            CertificateFault::Malformed { .. } => Self::BadEncoding,
            CertificateFault::Expired { .. } => Self::Expired,
            CertificateFault::NotYetValid { .. } => Self::NotValidYet,
            CertificateFault::UnknownIssuer { .. } => Self::UnknownIssuer,
            CertificateFault::Revoked => Self::Revoked,
            other => Self::Other(OtherError(Arc::new(Carried(other)))),
        }
    }
}

impl From<CertificateFault> for rustls::Error {
    fn from(fault: CertificateFault) -> Self {
        match fault {
            CertificateFault::Missing => Self::NoCertificatesPresented,
            other => Self::InvalidCertificate(other.into()),
        }
    }
}
