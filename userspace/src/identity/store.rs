//! The certificates of one workload: what everybody asks, and the task that keeps it fresh.

mod journal;
mod keeper;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::Settings;
use super::certificate::{Leaf, Validity};
use super::error::{IdentityError, Unavailable};
use super::fault::CertificateFault;
use super::standing::{BundleStanding, ListStanding, Standing};
use super::svid::Svid;
use super::tls;
use super::trust::{Bearer, Revocation, SharedTrust, timestamp_of};
use super::verifier::{ClientVerifier, ServerVerifier};
use crate::lasting::{Lasting, Panics};
use crate::model::Identity;
use journal::Journal;
use keeper::Keeper;

/// The certificates of one workload, kept fresh by a task until this is dropped.
///
/// A rotation touches no connection: configurations that were handed out keep the certificate that they were made with.
/// Whom to believe is looked up at each handshake, also by configurations from before.
pub struct Certificates {
    shared: Arc<Shared>,
    panics: Arc<Panics>,
    task: AbortHandle,
}

/// What the task replaces and everybody reads.
struct Shared {
    current: RwLock<Arc<Current>>,
    trust: Arc<SharedTrust>,
    journal: Journal,
    changes: watch::Sender<u64>,
}

/// The certificate in use, and the configuration made of it.
struct Current {
    svid: Svid,
    server: Arc<ServerConfig>,
}

impl Certificates {
    /// Obtains the first certificate and keeps it fresh. Needs a tokio runtime with time and IO enabled.
    ///
    /// # Errors
    /// Within `patience` the source gave no certificate, or a bundle or a revocation list could not be read.
    pub async fn obtain(settings: Settings, patience: Duration) -> Result<Arc<Self>, IdentityError> {
        let (keeper, shared) = Keeper::start(&settings, patience).await?;
        let panics = Panics::of("certificates");
        let task = tokio::spawn(keeper.outlast(Lasting::new(&panics))).abort_handle();
        Ok(Arc::new(Self { shared, panics, task }))
    }

    /// How often keeping them fresh broke.
    #[must_use]
    pub const fn panics(&self) -> &Arc<Panics> {
        &self.panics
    }

    /// Who the workload is, by the certificate in use.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.shared.current().svid.leaf().identity.clone()
    }

    /// When the certificate in use is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.shared.current().svid.leaf().validity
    }

    /// For dialling a peer that must be one of `expected`: presents our certificate, offers `h2`, asks for no name and
    /// resumes nothing.
    ///
    /// # Errors
    /// Nothing may be dialled now.
    pub fn client(&self, expected: &[Identity]) -> Result<Arc<ClientConfig>, Unavailable> {
        let current = self.available()?;
        let verifier = ServerVerifier { trust: Arc::clone(&self.shared.trust), expected: expected.to_vec() };
        let config = tls::client(&current.svid, verifier)
            .map_err(|error| Unavailable::Tls { why: error.to_string() })?;
        Ok(Arc::new(config))
    }

    /// For being dialled: presents our certificate and demands the client's. Cheap, made once per rotation.
    ///
    /// # Errors
    /// Nobody may be let in now.
    pub fn server(&self) -> Result<Arc<ServerConfig>, Unavailable> {
        Ok(Arc::clone(&self.available()?.server))
    }

    /// Whose a chain is that a handshake has verified.
    ///
    /// # Errors
    /// It is nobody's; never for one that our configurations have let through.
    pub fn peer(&self, chain: &[CertificateDer<'_>]) -> Result<Identity, CertificateFault> {
        let leaf = chain.first().ok_or(CertificateFault::Missing)?;
        Ok(Leaf::read(leaf)?.identity)
    }

    /// Verifies a chain once more, against today's bundles and revocation lists: for connections that stand.
    ///
    /// An expired certificate is not an error: the peer has another one by then, and shows it in the next handshake.
    /// Nor are revocation lists that cannot be read, which refuse new connections only.
    ///
    /// # Errors
    /// It is revoked, or nobody whom we believe vouches for it any more.
    pub fn verify_again(&self, chain: &[CertificateDer<'_>]) -> Result<(), CertificateFault> {
        self.shared.trust.today().verify(chain, Bearer::Standing, None, SystemTime::now()).map(drop)
    }

    /// Counts the changes of bundles and revocation lists: each is a reason to [`Self::verify_again`]. Rotations of our
    /// own certificate do not count.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// How everything stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let current = self.shared.current();
        let trust = self.shared.trust.today();
        let leaf = current.svid.leaf();
        let bundles = trust.bundles.iter().map(|(domain, bundle)| {
            let authorities = bundle.certificates().len();
            let earliest_expiry = bundle.earliest_expiry().map(timestamp_of);
            (domain.to_string(), BundleStanding { authorities, earliest_expiry })
        });
        let revocation_lists = match &trust.revocation {
            Revocation::Off | Revocation::Unreadable(_) => Vec::new(),
            Revocation::Lists(lists) => {
                let standing = |list: &super::revocation::RevocationList| ListStanding {
                    issuer: list.issuer.clone(),
                    revoked: list.revoked,
                    next_update: list.next_update.map(timestamp_of),
                };
                lists.iter().map(standing).collect()
            }
        };
        let notes = self.shared.journal.notes();
        Standing {
            identity: leaf.identity.to_string(),
            issuer: leaf.issuer.clone(),
            serial: leaf.serial.clone(),
            not_before: timestamp_of(leaf.validity.not_before),
            not_after: timestamp_of(leaf.validity.not_after),
            next_rotation: timestamp_of(notes.next),
            bundles: bundles.collect(),
            revocation_lists,
            unavailable: self.available().err().map(|unavailable| unavailable.to_string()),
            last_failure: notes.last_failure,
            rotations: notes.rotations,
            failures: notes.failures,
        }
    }

    /// Ends the task that keeps everything fresh. Dropping does so, too.
    pub fn end(&self) {
        self.task.abort();
    }

    fn available(&self) -> Result<Arc<Current>, Unavailable> {
        if let Revocation::Unreadable(why) = &self.shared.trust.today().revocation {
            return Err(Unavailable::Revocation { why: why.clone() });
        }
        let current = self.shared.current();
        let not_after = current.svid.leaf().validity.not_after;
        if SystemTime::now() > not_after {
            return Err(Unavailable::Expired { not_after: timestamp_of(not_after) });
        }
        Ok(current)
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Certificates")
            .field("svid", &self.shared.current().svid)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, current: Current) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
    }
}

impl Current {
    fn new(svid: Svid, trust: &Arc<SharedTrust>) -> Result<Self, String> {
        let server = tls::server(&svid, ClientVerifier { trust: Arc::clone(trust) })
            .map_err(|error| format!("TLS cannot be set up: {error}"))?;
        Ok(Self { svid, server: Arc::new(server) })
    }
}
