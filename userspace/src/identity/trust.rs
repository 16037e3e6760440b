//! Whom we believe: the bundles of every trust domain, the revocation lists, and the one verification of a chain.
//!
//! The bundle is chosen by the trust domain in the leaf's own name, so that an authority of one domain never vouches for
//! an identity of another. The clock is an argument.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{
    EndEntityCert, Error, ExpirationPolicy, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};

use super::bundle::Bundles;
use super::certificate::{AuthorityCertificate, Leaf};
use super::fault::{CertificateFault, LONGEST_CHAIN};
use super::revocation::RevocationList;
use super::tls;
use crate::model::Identity;

/// Which side of a tunnel shows the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bearer {
    /// The one that was dialled.
    Server,
    /// The one that dialled.
    Client,
    /// Either, in a connection that stands: its role was verified before. That its certificate has expired since then,
    /// or that lists cannot be read or are expired, is no reason to cut it; an authority that is no longer believed,
    /// and a list that names it, are.
    Standing,
}

/// What is known of revoked certificates.
#[derive(Debug, PartialEq)]
pub(super) enum Revocation {
    /// No list is configured.
    Off,
    /// What the configured lists say.
    Lists(Vec<RevocationList>),
    /// A configured list cannot be read: nobody is let in.
    Unreadable(String),
}

/// Whom we believe, at one moment.
#[derive(Debug, PartialEq)]
pub(super) struct Trust {
    pub(super) bundles: Bundles,
    pub(super) revocation: Revocation,
}

impl Trust {
    /// Verifies a chain, leaf first, and says whose it is: one of `expected`, or without that, any identity whose trust
    /// domain has a bundle.
    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        bearer: Bearer,
        expected: Option<&[Identity]>,
        now: SystemTime,
    ) -> Result<Identity, CertificateFault> {
        let Some((end_entity, intermediates)) = chain.split_first() else {
            return Err(CertificateFault::Missing);
        };
        if chain.len() > LONGEST_CHAIN {
            return Err(CertificateFault::TooLong { found: chain.len() });
        }
        let leaf = Leaf::read(end_entity)?;
        if let Some(expected) = expected
            && !expected.contains(&leaf.identity)
        {
            let expected: Vec<&str> = expected.iter().map(Identity::as_str).collect();
            return Err(CertificateFault::OtherIdentity {
                expected: expected.join(" or "),
                found: leaf.identity,
            });
        }
        let now = if bearer == Bearer::Standing { now.min(leaf.validity.not_after) } else { now };
        let domain = leaf.identity.trust_domain();
        let bundle =
            self.bundles.iter().find(|(known, _)| known.as_str() == domain).map(|(_, bundle)| bundle);
        let Some(bundle) = bundle else {
            let known: Vec<&str> = self.bundles.keys().map(crate::model::TrustDomain::as_str).collect();
            return Err(CertificateFault::TrustDomain { known: known.join(", "), found: domain.to_owned() });
        };
        let parsed = EndEntityCert::try_from(end_entity).map_err(|error| fault(error, domain))?;
        // The name was read by one parser and the chain is verified by another: they have to agree on whose it is.
        if !parsed.valid_uri_names().eq([leaf.identity.as_str()]) {
            return Err(CertificateFault::Malformed { what: "alternative names of two meanings".to_owned() });
        }
        let anchors = bundle.anchors(now);
        let lists: Vec<_> = match &self.revocation {
            Revocation::Off => Vec::new(),
            Revocation::Lists(lists) => lists.iter().map(|list| &list.list).collect(),
            Revocation::Unreadable(_) if bearer == Bearer::Standing => Vec::new(),
            Revocation::Unreadable(why) => return Err(CertificateFault::Revocation { found: why.clone() }),
        };
        // Without a list there are no options, which is what "not configured" means.
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            let expiration =
                if bearer == Bearer::Standing { ExpirationPolicy::Ignore } else { ExpirationPolicy::Enforce };
            options.with_status_policy(UnknownStatusPolicy::Allow).with_expiration_policy(expiration).build()
        });
        let path = parsed
            .verify_for_usage(
                tls::provider().signature_verification_algorithms.all,
                &anchors,
                intermediates,
                unix_time(now),
                bearer,
                revocation,
                None,
            )
            .map_err(|error| fault(error, domain))?;
        // WebPKI looks at no key usage of those in between, we do.
        for intermediate in path.intermediate_certificates() {
            AuthorityCertificate::read(&intermediate.der())?;
        }
        drop(path);
        Ok(leaf.identity)
    }
}

impl ExtendedKeyUsageValidator for Bearer {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        match self {
            Self::Server => KeyUsage::server_auth().validate(purposes),
            Self::Client => KeyUsage::client_auth().validate(purposes),
            Self::Standing => Ok(()),
        }
    }
}

/// What WebPKI found, in our words.
fn fault(error: Error, domain: &str) -> CertificateFault {
    let usage = |found: &str| CertificateFault::Usage { found: found.to_owned() };
    match error {
        Error::CertExpired { not_after, .. } => CertificateFault::Expired { not_after: timestamp(not_after) },
        Error::CertNotValidYet { not_before, .. } => {
            CertificateFault::NotYetValid { not_before: timestamp(not_before) }
        }
        Error::UnknownIssuer => CertificateFault::UnknownIssuer { trust_domain: domain.to_owned() },
        Error::CertRevoked => CertificateFault::Revoked,
        Error::CrlExpired { next_update, .. } => {
            CertificateFault::Revocation { found: format!("one that expired at {}", timestamp(next_update)) }
        }
        Error::InvalidCrlSignatureForPublicKey
        | Error::UnsupportedCrlSignatureAlgorithmContext(_)
        | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_)
        | Error::IssuerNotCrlSigner
        | Error::UnknownRevocationStatus => {
            CertificateFault::Revocation { found: format!("one that its issuer did not sign ({error})") }
        }
        Error::InvalidSignatureForPublicKey => {
            CertificateFault::Signature { found: "one that does not fit its issuer's key".to_owned() }
        }
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            CertificateFault::Signature { found: "one of an algorithm that is not taken".to_owned() }
        }
        Error::CaUsedAsEndEntity => usage("that of a certificate authority"),
        Error::EndEntityUsedAsCa => usage("an issuer that is no certificate authority"),
        Error::PathLenConstraintViolated => usage("a chain longer than one of its authorities allows"),
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => {
            usage("an extended key usage without this side of TLS")
        }
        Error::NameConstraintViolation => usage("a name that one of its authorities may not vouch for"),
        other => CertificateFault::Malformed { what: other.to_string() },
    }
}

fn unix_time(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

fn timestamp(time: UnixTime) -> Timestamp {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// A time of the system as it is shown.
pub(super) fn timestamp_of(time: SystemTime) -> Timestamp {
    timestamp(unix_time(time))
}

/// The trust of today, shared by everything that verifies.
#[derive(Debug)]
pub(super) struct SharedTrust(RwLock<Arc<Trust>>);

impl SharedTrust {
    pub(super) fn new(trust: Trust) -> Self {
        Self(RwLock::new(Arc::new(trust)))
    }

    /// The trust of this moment.
    pub(super) fn today(&self) -> Arc<Trust> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn replace(&self, trust: Trust) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(trust);
    }
}
