//! Where certificates come from: one interface over the three sources.

mod files;
mod signing_ca;
mod workload_api;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::bundle::{Bundle, Bundles};
use super::svid::Svid;
use super::{Settings, Source};
use crate::model::{Identity, TrustDomain};
use files::Files;
use signing_ca::SigningCa;
use workload_api::WorkloadApi;

/// What a source hands out: a certificate, and whom to believe.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) svid: Svid,
    pub(super) bundles: Bundles,
}

impl Issued {
    /// With the bundle of its own trust domain only.
    fn alone(svid: Svid, bundle: Arc<Bundle>) -> Result<Self, String> {
        let domain = svid.leaf().identity.trust_domain();
        let domain: TrustDomain = domain.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { svid, bundles: BTreeMap::from([(domain, bundle)]) })
    }
}

/// What asking a source led to.
#[derive(Debug)]
pub(super) enum Answer {
    /// This is to be used from now on; it may be what is in use already.
    Issued(Box<Issued>),
    /// There is nothing to do.
    Nothing,
    /// It is being written: soon.
    Unfinished,
}

/// A source in use.
pub(super) enum Feed {
    Files(Files),
    WorkloadApi(WorkloadApi),
    SigningCa(SigningCa),
}

impl Feed {
    pub(super) fn new(settings: &Settings) -> Self {
        match &settings.source {
            Source::Files { directory } => {
                Self::Files(Files::new(directory.clone(), settings.expected.clone()))
            }
            Source::WorkloadApi { socket } => {
                Self::WorkloadApi(WorkloadApi::new(socket.clone(), settings.expected.clone()))
            }
            Source::SigningCa { directory, identity, lifetime } => {
                Self::SigningCa(SigningCa::new(directory.clone(), identity.clone(), *lifetime))
            }
        }
    }

    /// The files to watch.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::Files(files) => files.paths(),
            Self::WorkloadApi(_) => Vec::new(),
            Self::SigningCa(authority) => authority.paths(),
        }
    }

    /// Asks for a certificate, because it is time to.
    pub(super) async fn ask(&mut self) -> Result<Answer, String> {
        match self {
            Self::Files(files) => files.read().await,
            Self::WorkloadApi(api) => api.connect().await,
            Self::SigningCa(authority) => authority.issue().await,
        }
    }

    /// Looks again, because a watched file may have changed.
    pub(super) async fn look(&mut self) -> Result<Answer, String> {
        match self {
            Self::Files(files) => files.read().await,
            Self::WorkloadApi(_) => Ok(Answer::Nothing),
            Self::SigningCa(authority) => authority.look().await,
        }
    }

    /// Waits until the source sends something of its own accord. Safe to drop and call again.
    pub(super) async fn pushed(&mut self) -> Result<Answer, String> {
        match self {
            Self::WorkloadApi(api) => api.pushed().await,
            Self::Files(_) | Self::SigningCa(_) => std::future::pending().await,
        }
    }
}

/// Refuses a certificate that does not say what it must.
fn check_expected(expected: Option<&Identity>, svid: &Svid) -> Result<(), String> {
    let found = &svid.leaf().identity;
    match expected {
        Some(expected) if expected != found => Err(format!(
            "expected a certificate for {expected}, which the configuration names, found one for {found}"
        )),
        _ => Ok(()),
    }
}

/// Runs what blocks (files, signatures) where blocking is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(format!("read the certificates: {error}")),
    }
}

fn now() -> SystemTime {
    SystemTime::now()
}
