//! The certificate authorities that may vouch for the identities of one trust domain.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, TrustAnchor};

use super::certificate::{AuthorityCertificate, Validity, certificates_of_pem};
use crate::model::TrustDomain;

/// Most authorities in one bundle.
pub const MOST_AUTHORITIES: usize = 1000;

/// Bundles by the trust domain that they vouch for.
pub(super) type Bundles = BTreeMap<TrustDomain, Arc<Bundle>>;

/// The authorities of one trust domain.
#[derive(Clone)]
pub struct Bundle {
    certificates: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
    validity: Vec<Validity>,
}

impl Bundle {
    /// Reads a bundle.
    ///
    /// # Errors
    /// It is empty or too large, or a certificate in it is not one of an authority: then nothing of it is taken.
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        if certificates.is_empty() || certificates.len() > MOST_AUTHORITIES {
            let found = certificates.len();
            return Err(format!("expected 1 to {MOST_AUTHORITIES} certificate authorities, found {found}"));
        }
        let mut anchors = Vec::with_capacity(certificates.len());
        let mut validity = Vec::with_capacity(certificates.len());
        for (index, certificate) in certificates.iter().enumerate() {
            let place =
                |error: &dyn fmt::Display| format!("certificate {} of the bundle: {error}", index + 1);
            let authority = AuthorityCertificate::read(certificate).map_err(|fault| place(&fault))?;
            let anchor = webpki::anchor_from_trusted_cert(certificate).map_err(|error| place(&error))?;
            anchors.push(anchor.to_owned());
            validity.push(authority.validity);
        }
        Ok(Self { certificates, anchors, validity })
    }

    /// Reads a bundle in PEM.
    ///
    /// # Errors
    /// Those of [`Self::new`], and of PEM.
    pub fn of_pem(pem: &[u8]) -> Result<Self, String> {
        Self::new(certificates_of_pem(pem, MOST_AUTHORITIES)?)
    }

    /// The authorities that are valid at that time. WebPKI looks at no authority's validity, we do.
    pub(super) fn anchors(&self, now: SystemTime) -> Cow<'_, [TrustAnchor<'static>]> {
        if self.validity.iter().all(|validity| validity.holds(now)) {
            return Cow::Borrowed(&self.anchors);
        }
        let pairs = self.anchors.iter().zip(&self.validity);
        pairs.filter(|(_, validity)| validity.holds(now)).map(|(anchor, _)| anchor.clone()).collect()
    }

    /// The certificates of the authorities.
    pub(super) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// When the first of them expires.
    pub(super) fn earliest_expiry(&self) -> Option<SystemTime> {
        self.validity.iter().map(|validity| validity.not_after).min()
    }
}

impl PartialEq for Bundle {
    fn eq(&self, other: &Self) -> bool {
        self.certificates == other.certificates
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Bundle({} authorities)", self.certificates.len())
    }
}
