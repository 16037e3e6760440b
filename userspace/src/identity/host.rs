//! TLS with the certificates of hosts, as everybody outside of the mesh speaks it: 1.2 and 1.3, names and not identities.
//!
//! For the edge of a workload: what it serves to others, and what it reaches elsewhere. Files are looked at whenever they are
//! asked for and read again when they have changed. What cannot be used leaves what was in use before, and is logged.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use zeroize::Zeroize as _;

use super::bundle::MOST_AUTHORITIES;
use super::certificate::certificates_of_pem;
use super::layout::{self, CERTIFICATE, KEY};

/// Certificates that one host may send along with its own.
const LONGEST_CHAIN: usize = 16;
/// What is spoken outside of the mesh.
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(default_provider()));

/// Where the certificate of a host and its key are, both in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFiles {
    /// The certificate, with those that vouch for it behind it.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl HostFiles {
    /// `tls.crt` and `tls.key` of a directory, as Kubernetes names them.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        Self { certificate: directory.join(CERTIFICATE), key: directory.join(KEY) }
    }

    fn paths(&self) -> [PathBuf; 2] {
        [self.certificate.clone(), self.key.clone()]
    }

    fn read(&self) -> Result<Arc<CertifiedKey>, String> {
        let wrong = |what: &dyn ToString| format!("{}: {}", self.certificate.display(), what.to_string());
        let chain = layout::read(&self.certificate)?;
        let chain = certificates_of_pem(&chain, LONGEST_CHAIN).map_err(|error| wrong(&error))?;
        let key = layout::read(&self.key)?;
        let unfit = |what: String| {
            format!("{}: expected an unencrypted private key in PEM: {what}", self.key.display())
        };
        // With nothing of what stood there.
        let mut key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| unfit("found none".to_owned()))?;
        let loaded = any_supported_type(&key).map_err(|error| unfit(error.to_string()));
        key.zeroize();
        let certified = CertifiedKey::new(chain, loaded?);
        certified.keys_match().map_err(|error| {
            wrong(&format!("expected the certificate of the key {}: {error}", self.key.display()))
        })?;
        Ok(Arc::new(certified))
    }
}

/// The authorities in a file.
fn authorities(path: &Path) -> Result<Arc<RootCertStore>, String> {
    let wrong = |what: &dyn ToString| format!("{}: {}", path.display(), what.to_string());
    let bytes = layout::read(path)?;
    let found = certificates_of_pem(&bytes, MOST_AUTHORITIES).map_err(|error| wrong(&error))?;
    let mut roots = RootCertStore::empty();
    let (usable, unusable) = roots.add_parsable_certificates(found);
    if usable == 0 {
        return Err(wrong(&"expected the certificate of an authority, found none that can be used"));
    }
    if unusable > 0 {
        // Bundles of whole systems have some that nobody can use any more.
        tracing::debug!(unusable, usable, file = %path.display(), "some authorities cannot be used");
    }
    Ok(Arc::new(roots))
}

/// TLS that follows the files it is made of.
pub struct Followed<T> {
    paths: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<T, String> + Send + Sync>,
    current: Mutex<Current<T>>,
}

struct Current<T> {
    stamps: Vec<Option<Stamp>>,
    made: Arc<T>,
}

/// A file has not changed as long as this is the same: device, inode, size, and its times of change.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp(u64, u64, u64, (i64, i64), (i64, i64));

impl From<Metadata> for Stamp {
    fn from(found: Metadata) -> Self {
        let (modified, changed) = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
        Self(found.dev(), found.ino(), found.size(), modified, changed)
    }
}

impl<T> Followed<T> {
    fn new(
        paths: Vec<PathBuf>,
        make: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        // In this order: a change in between is seen as one later.
        let stamps = stamps(&paths);
        let made = Arc::new(make()?);
        Ok(Self { paths, make: Box::new(make), current: Mutex::new(Current { stamps, made }) })
    }

    /// What the files say now, or said when they could last be used.
    pub fn current(&self) -> Arc<T> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.paths);
        if stamps != current.stamps {
            current.stamps = stamps;
            let file = self.paths.first().map(|path| path.display().to_string()).unwrap_or_default();
            match (self.make)() {
                Ok(made) => {
                    current.made = Arc::new(made);
                    tracing::info!(file, "certificates at the edge were replaced");
                }
                // Told once for each change of the files.
                Err(error) => tracing::error!(error, file, "keeping the certificates in use"),
            }
        }
        Arc::clone(&current.made)
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Option<Stamp>> {
    paths.iter().map(|path| path.metadata().ok().map(Stamp::from)).collect()
}

/// TLS for serving: presents a certificate, offers `protocols` (ALPN), and demands a certificate of the client if there are
/// authorities to verify it with.
///
/// # Errors
/// A file cannot be read or used; the message is complete.
pub fn server(
    files: HostFiles,
    client_authorities: Option<PathBuf>,
    protocols: &'static [&'static [u8]],
) -> Result<Followed<ServerConfig>, String> {
    let paths = files.paths().into_iter().chain(client_authorities.clone()).collect();
    Followed::new(paths, move || {
        let certified = files.read()?;
        let wrong = |error: &dyn ToString| error.to_string();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(&VERSIONS)
            .map_err(|error| wrong(&error))?;
        let builder = match &client_authorities {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let provider = Arc::clone(&PROVIDER);
                let verifier = WebPkiClientVerifier::builder_with_provider(authorities(path)?, provider);
                builder.with_client_cert_verifier(verifier.build().map_err(|error| wrong(&error))?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    })
}

/// TLS for dialling: verifies the server with the authorities of a file, by the name that is asked for, presents a certificate
/// where the server demands one and there is one, and offers `protocols` (ALPN).
///
/// # Errors
/// A file cannot be read or used; the message is complete.
pub fn client(
    authorities_file: PathBuf,
    files: Option<HostFiles>,
    protocols: &'static [&'static [u8]],
) -> Result<Followed<ClientConfig>, String> {
    let own = files.iter().flat_map(HostFiles::paths);
    let paths = std::iter::once(authorities_file.clone()).chain(own).collect();
    Followed::new(paths, move || {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(&VERSIONS)
            .map_err(|error| error.to_string())?
            .with_root_certificates(authorities(&authorities_file)?);
        let mut config = match &files {
            None => builder.with_no_client_auth(),
            Some(files) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(files.read()?))),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    })
}
