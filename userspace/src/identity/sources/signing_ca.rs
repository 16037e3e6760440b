//! A certificate authority in files, by which we issue our own certificates.
//!
//! It is read for each certificate anew, so that a new authority is used as soon as it is there and no key of one is kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Answer, Issued, blocking, now};
use crate::identity::authority::Authority;
use crate::identity::bundle::Bundle;
use crate::identity::layout::{CERTIFICATE, KEY, ROOTS};
use crate::model::Identity;

/// A directory with `tls.crt` and `tls.key` of an authority, and perhaps `ca.crt`.
pub(in crate::identity) struct SigningCa {
    directory: PathBuf,
    identity: Identity,
    lifetime: Duration,
    /// The bundle of the authority that issued last.
    used: Option<Arc<Bundle>>,
}

impl SigningCa {
    pub(super) const fn new(directory: PathBuf, identity: Identity, lifetime: Duration) -> Self {
        Self { directory, identity, lifetime, used: None }
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        [CERTIFICATE, KEY, ROOTS].map(|name| self.directory.join(name)).to_vec()
    }

    pub(super) async fn issue(&mut self) -> Result<Answer, String> {
        let (directory, identity, lifetime) = (self.directory.clone(), self.identity.clone(), self.lifetime);
        let issued = blocking(move || {
            let authority = Authority::read(&directory)?;
            let svid = authority.issue(&identity, lifetime, now())?;
            Ok((svid, Arc::clone(authority.bundle())))
        });
        let (svid, bundle) = issued.await?;
        self.used = Some(Arc::clone(&bundle));
        Ok(Answer::Issued(Box::new(Issued::alone(svid, bundle)?)))
    }

    /// Issues anew if the authority is another one, or has another bundle.
    pub(super) async fn look(&mut self) -> Result<Answer, String> {
        let directory = self.directory.clone();
        let found = blocking(move || Ok(Arc::clone(Authority::read(&directory)?.bundle()))).await?;
        if self.used.as_ref() == Some(&found) { Ok(Answer::Nothing) } else { self.issue().await }
    }
}
