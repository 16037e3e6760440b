//! The certificate that the API server sees: read from the directory that a Secret is mounted at, and read again.
//!
//! Polled and not watched: a kubelet takes up to a minute to renew the files, and two small files cost nothing to read.
//! Whatever cannot be presented is said, and the one that could stays.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// How often the files are read.
const PERIOD: Duration = Duration::from_secs(5);

/// A certificate that changes while it is presented.
#[derive(Debug)]
pub(super) struct Presented {
    directory: PathBuf,
    provider: Arc<CryptoProvider>,
    current: RwLock<(Files, Arc<CertifiedKey>)>,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(directory: &Path) -> io::Result<Self> {
        Ok(Self { chain: fs::read(directory.join("tls.crt"))?, key: fs::read(directory.join("tls.key"))? })
    }

    fn certified(&self, provider: &CryptoProvider) -> Result<CertifiedKey> {
        let chain = CertificateDer::pem_slice_iter(&self.chain).collect::<Result<Vec<_>, _>>();
        let chain = chain.context("tls.crt")?;
        if chain.is_empty() {
            bail!("tls.crt: expected certificates as PEM, found none");
        }
        let key =
            PrivateKeyDer::from_pem_slice(&self.key).context("tls.key: expected a private key as PEM")?;
        // Refuses a key that is not that of the certificate, as when the files are renewed between two reads.
        CertifiedKey::from_der(chain, key, provider).context("tls.crt and tls.key")
    }
}

impl Presented {
    /// Reads what is to be presented at first.
    pub(super) fn read(directory: &Path) -> Result<Arc<Self>> {
        let provider = Arc::new(default_provider());
        let files = Files::read(directory).context("expected the files tls.crt and tls.key")?;
        let certified = Arc::new(files.certified(&provider)?);
        let directory = directory.to_owned();
        Ok(Arc::new(Self { directory, provider, current: RwLock::new((files, certified)) }))
    }

    /// How the API server is spoken to: it takes HTTP/2 where it can have it.
    pub(super) fn server(self: &Arc<Self>) -> Result<Arc<ServerConfig>> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .context("set up TLS")?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Takes over what changes, until dropped.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut complained = None;
        loop {
            tokio::time::sleep(PERIOD).await;
            self.look(&mut complained);
        }
    }

    /// Reads once more, and says what is wrong once for each change.
    pub(super) fn look(&self, complained: &mut Option<String>) {
        match self.renewed() {
            Ok(false) => *complained = None,
            Ok(true) => {
                *complained = None;
                tracing::info!(directory = %self.directory.display(), "presenting a new certificate");
            }
            Err(error) => {
                let error = format!("{error:#}");
                if complained.as_ref() != Some(&error) {
                    tracing::warn!(
                        error,
                        "cannot present the certificate that is there now; the last one stays"
                    );
                    *complained = Some(error);
                }
            }
        }
    }

    /// Whether there was a new one.
    fn renewed(&self) -> Result<bool> {
        let files = Files::read(&self.directory)?;
        let current = || self.current.read().unwrap_or_else(PoisonError::into_inner);
        if current().0 == files {
            return Ok(false);
        }
        let certified = Arc::new(files.certified(&self.provider)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (files, certified);
        Ok(true)
    }
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current.1))
    }
}
