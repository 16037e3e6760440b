//! What makes workloads a mesh: an authority that issues their certificates, and a file of policies that they are held to.
//!
//! The authority is made anew for every mesh and goes with it: no key is ever part of the repository.

mod credentials;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::json;
use tempfile::TempDir;

pub use credentials::{Credentials, Forgery};

use crate::Config;
use crate::sidestep::{directory, replace};

/// The trust domain of every mesh.
pub const TRUST_DOMAIN: &str = "cluster.local";
/// The namespace of every workload of a mesh.
pub const NAMESPACE: &str = "shop";

/// An authority and the policies.
#[derive(Debug)]
pub struct Mesh {
    directory: TempDir,
}

impl Mesh {
    /// A mesh with an authority of its own and no policies.
    ///
    /// # Panics
    /// When its files cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let mesh = Self { directory: directory() };
        mesh.hold_to("");
        mesh.make_authority().unwrap_or_else(|error| panic!("make an authority: {error}"));
        mesh
    }

    /// The same configuration, for a workload with the identity of a service account, whose labels are `app` and its name.
    #[must_use]
    pub fn member(&self, config: Config, account: &str) -> Config {
        config
            .with(
                "identity",
                json!({ "id": identity(account), "signing-ca": { "directory": self.authority() } }),
            )
            .with("labels", json!({ "app": account }))
            .with("policies", json!([self.policies()]))
    }

    /// Replaces all policies in one step.
    pub fn hold_to(&self, policies: &str) {
        replace(&self.policies(), policies);
    }

    /// The file of policies.
    #[must_use]
    pub fn policies(&self) -> PathBuf {
        self.directory.path().join("policies.yaml")
    }

    /// The directory with the authority's certificate and key.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("ca")
    }

    fn make_authority(&self) -> Result<(), Box<dyn std::error::Error>> {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = parameters.self_signed(&key)?;
        let directory = self.authority();
        fs::create_dir(&directory)?;
        fs::write(directory.join("tls.crt"), certificate.pem())?;
        write_secret(&directory.join("tls.key"), &key.serialize_pem())?;
        Ok(())
    }
}

impl Default for Mesh {
    fn default() -> Self {
        Self::new()
    }
}

/// The identity of a service account in the mesh.
#[must_use]
pub fn identity(account: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{account}")
}

/// A policy for the whole namespace; `spec` is YAML in one line.
#[must_use]
pub fn policy(spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
         metadata: {{ name: default, namespace: {NAMESPACE} }}\nspec: {spec}\n"
    )
}

/// An `AuthorizationPolicy` of that name for the whole namespace, as one more document; `spec` is YAML in one line.
#[must_use]
pub fn authorization(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
         metadata: {{ name: {name}, namespace: {NAMESPACE} }}\nspec: {spec}\n"
    )
}

pub(crate) fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))
}
