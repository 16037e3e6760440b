//! A workload's certificate and its key, together and known to be good.
//!
//! The key lives inside the cryptographic library, which wipes it; the bytes that it came from are wiped here. It is in
//! no `Debug` and can be had back from nowhere.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::InconsistentKeys;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use zeroize::Zeroize as _;

use super::certificate::{Leaf, certificates_of_pem};
use super::fault::{CertificateFault, LONGEST_CHAIN};
use super::trust::timestamp_of;

/// Why a certificate and a key are not used.
#[derive(Debug, Error)]
pub enum SvidError {
    /// The certificate is not one that a peer would accept.
    #[error(transparent)]
    Certificate(#[from] CertificateFault),
    /// They do not belong together. In the middle of a change this passes.
    #[error("expected a key that belongs to the certificate, found another one")]
    Mismatch,
    /// The key is none.
    #[error("expected an unencrypted private key (PKCS #8, PKCS #1 or SEC 1): {0}")]
    Key(String),
    /// The chain is none.
    #[error("{0}")]
    Chain(String),
}

/// A workload's certificate, with those that vouch for it, and its key.
#[derive(Clone)]
pub struct Svid {
    leaf: Leaf,
    certified: Arc<CertifiedKey>,
}

impl Svid {
    /// Puts a chain, leaf first, and its key together. The bytes of the key are wiped.
    ///
    /// # Errors
    /// They do not belong together, or a peer would refuse them: also those that are not valid at `now`.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        mut key: PrivateKeyDer<'static>,
        now: SystemTime,
    ) -> Result<Self, SvidError> {
        let loaded = any_supported_type(&key).map_err(|error| SvidError::Key(error.to_string()));
        key.zeroize();
        let loaded = loaded?;
        let end_entity = chain.first().ok_or(CertificateFault::Missing)?;
        if chain.len() > LONGEST_CHAIN {
            return Err(CertificateFault::TooLong { found: chain.len() }.into());
        }
        let leaf = Leaf::read(end_entity)?;
        let certified = CertifiedKey::new(chain, loaded);
        match certified.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                return Err(SvidError::Mismatch);
            }
            Err(error) => return Err(SvidError::Key(error.to_string())),
        }
        if now > leaf.validity.not_after {
            return Err(CertificateFault::Expired { not_after: timestamp_of(leaf.validity.not_after) }.into());
        }
        if now < leaf.validity.not_before {
            return Err(
                CertificateFault::NotYetValid { not_before: timestamp_of(leaf.validity.not_before) }.into()
            );
        }
        Ok(Self { leaf, certified: Arc::new(certified) })
    }

    /// Reads a chain and a key in PEM.
    ///
    /// # Errors
    /// Those of [`Self::new`], and of PEM.
    pub fn of_pem(chain: &[u8], key: &[u8], now: SystemTime) -> Result<Self, SvidError> {
        let chain = certificates_of_pem(chain, LONGEST_CHAIN).map_err(SvidError::Chain)?;
        // Told apart from a missing key, and never with what stood there.
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| SvidError::Key("found none in the file".to_owned()))?;
        Self::new(chain, key, now)
    }

    /// What the certificate says.
    #[must_use]
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// The chain, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    pub(super) fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

impl fmt::Debug for Svid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Svid").field("leaf", &self.leaf).finish_non_exhaustive()
    }
}
