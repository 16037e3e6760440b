//! The SPIFFE Workload API over a Unix socket: a stream of certificates and bundles, which the agent renews.
//!
//! Revocation lists come from files only: the client library passes none on.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use spiffe::{WorkloadApiClient, WorkloadApiError, X509Context, X509Svid};
use tokio::time::timeout;

use super::{Answer, Issued, check_expected, now};
use crate::identity::bundle::{Bundle, Bundles};
use crate::identity::svid::Svid;
use crate::model::Identity;

/// How long the agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

type Contexts = Pin<Box<dyn Stream<Item = Result<X509Context, WorkloadApiError>> + Send + Sync>>;

/// An agent's socket, and the stream if it stands.
pub(in crate::identity) struct WorkloadApi {
    socket: PathBuf,
    expected: Option<Identity>,
    stream: Option<Contexts>,
}

impl WorkloadApi {
    pub(super) const fn new(socket: PathBuf, expected: Option<Identity>) -> Self {
        Self { socket, expected, stream: None }
    }

    /// Connects and takes the first certificate. A stream that stands already needs no asking.
    pub(super) async fn connect(&mut self) -> Result<Answer, String> {
        if self.stream.is_some() {
            return Ok(Answer::Nothing);
        }
        let named =
            |error: &dyn std::fmt::Display| format!("Workload API at {}: {error}", self.socket.display());
        let endpoint = format!("unix://{}", self.socket.display());
        let first = async {
            let client = WorkloadApiClient::connect_to(endpoint).await?;
            let mut stream = Box::pin(client.stream_x509_contexts().await?);
            let first = stream.next().await.unwrap_or(Err(WorkloadApiError::EmptyResponse))?;
            Ok((stream, first))
        };
        let (stream, context) = match timeout(PATIENCE, first).await {
            Ok(answered) => answered.map_err(|error: WorkloadApiError| named(&error))?,
            Err(_elapsed) => {
                return Err(named(&"no answer within ten seconds; does the agent know this workload?"));
            }
        };
        let issued = self.take(&context).map_err(|error| named(&error))?;
        self.stream = Some(stream);
        Ok(issued)
    }

    /// The next that the agent sends. When the stream ends, that is a failure, and connecting is due again.
    pub(super) async fn pushed(&mut self) -> Result<Answer, String> {
        let Some(stream) = &mut self.stream else { return std::future::pending().await };
        let named =
            |error: &dyn std::fmt::Display| format!("Workload API at {}: {error}", self.socket.display());
        match stream.next().await {
            Some(Ok(context)) => self.take(&context).map_err(|error| named(&error)),
            Some(Err(error)) => {
                let message = named(&error);
                self.stream = None;
                Err(message)
            }
            None => {
                let message = named(&"the agent ended the stream");
                self.stream = None;
                Err(message)
            }
        }
    }

    fn take(&self, context: &X509Context) -> Result<Answer, String> {
        let found = match &self.expected {
            None => context.default_svid(),
            Some(expected) => {
                let wanted = |svid: &&Arc<X509Svid>| svid.spiffe_id().to_string() == expected.as_str();
                context.svids().iter().find(wanted).or(context.default_svid())
            }
        };
        let found = found.ok_or("expected a certificate, found none")?;
        let chain =
            found.cert_chain().iter().map(|der| CertificateDer::from(der.as_bytes().to_vec())).collect();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(found.private_key().as_bytes().to_vec()));
        let svid = Svid::new(chain, key, now()).map_err(|error| error.to_string())?;
        check_expected(self.expected.as_ref(), &svid)?;
        let mut bundles = Bundles::new();
        for (domain, bundle) in context.bundle_set().iter() {
            let certificates =
                bundle.authorities().iter().map(|der| CertificateDer::from(der.as_bytes().to_vec()));
            let read = Bundle::new(certificates.collect());
            match read
                .and_then(|bundle| Ok((domain.as_str().parse().map_err(|error| format!("{error}"))?, bundle)))
            {
                Ok((domain, bundle)) => drop(bundles.insert(domain, Arc::new(bundle))),
                Err(error) if domain.as_str() == svid.leaf().identity.trust_domain() => {
                    return Err(format!("the bundle of {domain}: {error}"));
                }
                // Nobody of that domain is let in then; it is no reason to let our own certificate expire.
                Err(error) => tracing::warn!(%domain, error, "a bundle from the Workload API is not used"),
            }
        }
        Ok(Answer::Issued(Box::new(Issued { svid, bundles })))
    }
}
