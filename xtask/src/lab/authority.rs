//! A certificate authority of a lab, made by the product itself: in a directory that a sidecar can sign with, and at hand
//! to sign for others.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::Lab;
use super::mesh::TRUST_DOMAIN;
use crate::process::capture;

/// What a Kubernetes TLS Secret calls its files, and what cert-manager puts beside them.
pub(crate) const CERTIFICATE: &str = "tls.crt";
/// See [`CERTIFICATE`].
pub(crate) const KEY: &str = "tls.key";
/// See [`CERTIFICATE`].
pub(crate) const TRUSTED: &str = "ca.crt";

/// An authority that lives as long as the lab does.
#[derive(Debug)]
pub(crate) struct Authority {
    sidestep: PathBuf,
    directory: PathBuf,
}

impl Authority {
    /// Makes one; its directory ends in `name`.
    pub(crate) fn establish(lab: &Lab, name: &str) -> Result<Self> {
        let authority = Self { sidestep: lab.sidestep().to_owned(), directory: lab.file(name) };
        capture(authority.ask("init").args(["--trust-domain", TRUST_DOMAIN]))?;
        Ok(authority)
    }

    /// Where its certificate and its key are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes a key and a certificate for an identity, for either end of a connection, and puts them into `directory`
    /// with the authority's own certificate.
    pub(crate) fn issue(&self, identity: &str, directory: &Path) -> Result<()> {
        capture(self.ask("issue").args(["--identity", identity, "--out"]).arg(directory)).map(drop)
    }

    fn ask(&self, what: &str) -> Command {
        let mut command = Command::new(&self.sidestep);
        command.args(["ca", what, "--directory"]).arg(&self.directory);
        command
    }
}
