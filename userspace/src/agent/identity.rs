//! The workload's certificates for the instance: `identity` and `proxy` do not know each other, this joins them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::watch;

use crate::agent::observing;
use crate::config::{CertificateSource, IdentitySettings};
use crate::identity::{Certificates, Settings, Source};
use crate::model::Identity;
use crate::proxy::{Credentials, Tunnelling};
use crate::telemetry::Row;

/// How long the first certificate may take: a source that is not there by then is not coming.
const PATIENCE: Duration = Duration::from_secs(30);

/// Obtains the certificates that a configuration asks for.
pub(super) async fn obtain(settings: &IdentitySettings) -> Result<Arc<Certificates>> {
    let source = match &settings.source {
        CertificateSource::Files(directory) => Source::Files { directory: directory.clone() },
        CertificateSource::WorkloadApi(socket) => Source::WorkloadApi { socket: socket.clone() },
        CertificateSource::SigningCa { directory, lifetime } => {
            let Some(identity) = settings.id.clone() else {
                bail!("expected identity.id beside identity.signing-ca, found none");
            };
            Source::SigningCa { directory: directory.clone(), identity, lifetime: *lifetime }
        }
    };
    let settings = Settings {
        source,
        expected: settings.id.clone(),
        federated: settings.federated.clone(),
        revocation_lists: settings.revocation_lists.clone(),
    };
    let certificates =
        Certificates::obtain(settings, PATIENCE).await.context("obtain the workload's certificate")?;
    tracing::info!(identity = %certificates.identity(), "the workload has its certificate");
    Ok(certificates)
}

/// What the instance needs to speak through tunnels.
pub(super) fn tunnelling(certificates: &Arc<Certificates>, workload: &str) -> Tunnelling {
    Tunnelling { credentials: Arc::new(Proven(Arc::clone(certificates))), workload: workload.to_owned() }
}

/// What the certificates tell the metrics.
pub(super) fn rows(certificates: &Certificates) -> Vec<Row> {
    let standing = certificates.standing();
    vec![
        Row::Rotations { succeeded: standing.rotations, failed: standing.failures },
        Row::CertificateExpiry(standing.not_after.as_second()),
        Row::CertificateRotation(standing.next_rotation.as_second()),
        observing::panic_row(certificates.panics()),
    ]
}

/// Certificates as the proxy asks for them.
struct Proven(Arc<Certificates>);

impl Credentials for Proven {
    fn identity(&self) -> Identity {
        self.0.identity()
    }

    fn client(&self, expected: &Identity) -> io::Result<Arc<ClientConfig>> {
        self.0.client(std::slice::from_ref(expected)).map_err(io::Error::other)
    }

    fn server(&self) -> io::Result<Arc<ServerConfig>> {
        self.0.server().map_err(io::Error::other)
    }

    fn peer(&self, chain: &[CertificateDer<'_>]) -> io::Result<Identity> {
        self.0.peer(chain).map_err(io::Error::other)
    }

    fn verify_again(&self, chain: &[CertificateDer<'_>]) -> io::Result<()> {
        self.0.verify_again(chain).map_err(io::Error::other)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes()
    }
}
