//! `identity:`: who the workload is and where its certificates come from.

use std::path::PathBuf;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::or;
use crate::config::value::{Lifetime, OneOrMany, SocketPath, Value};
use crate::config::yaml::{Part, section};
use crate::config::{CertificateSource, ConfigError, IdentitySettings};
use crate::model::{Identity, TrustDomain};

section!(pub(super) WrittenIdentity {
    id: Value<Identity>,
    files: Value<PathBuf>,
    workload_api: Value<SocketPath>,
    signing_ca: SigningCa,
    federated: Vec<Spanned<Federated>>,
    revocation_lists: OneOrMany<PathBuf>,
});

/// `identity.signing-ca:`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping of settings")]
pub(super) struct SigningCa {
    directory: Value<PathBuf>,
    lifetime: Option<Value<Lifetime>>,
}

/// One entry of `identity.federated`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a trust domain and its bundle")]
pub(super) struct Federated {
    trust_domain: Value<TrustDomain>,
    bundle: Value<PathBuf>,
}

/// Whose certificates a section is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Those of the one workload that the file is for.
    Own,
    /// Those of all pods of a node.
    EveryPods,
}

impl WrittenIdentity {
    /// The settings of a section that stands at `section`.
    pub(super) fn settings(
        section: Spanned<Self>,
        of: Whose,
        part: Part<'_>,
    ) -> Result<IdentitySettings, ConfigError> {
        let (at, section) = (section.referenced, section.value);
        let id = section.id.map(|Value(id)| id);
        let sources = [
            section.files.map(|Value(path)| ("files", CertificateSource::Files(path))),
            section
                .workload_api
                .map(|Value(SocketPath(path))| ("workload-api", CertificateSource::WorkloadApi(path))),
            section.signing_ca.map(|ca| ("signing-ca", ca.source())),
        ];
        let (names, mut sources): (Vec<_>, Vec<_>) = sources.into_iter().flatten().unzip();
        if names.len() != 1 {
            let found = if names.is_empty() { "none".to_owned() } else { names.join(" and ") };
            let message =
                format!("expected exactly one of files, workload-api and signing-ca, found {found}");
            return Err(part.invalid(at, "identity", message));
        }
        let source = sources.remove(0);
        let signs = matches!(source, CertificateSource::SigningCa { .. });
        if of == Whose::EveryPods && (id.is_some() || !signs) {
            let message =
                "expected signing-ca without id, which Kubernetes says of each pod, beside the section node";
            return Err(part.invalid(at, "identity", message));
        }
        if of == Whose::Own && id.is_none() && signs {
            let message = "expected the field \"id\", since a signing CA says nothing of who the workload is, found none";
            return Err(part.invalid(at, "identity", message));
        }
        let mut federated: Vec<(TrustDomain, PathBuf)> = Vec::new();
        for (index, Spanned { value, referenced, .. }) in
            section.federated.unwrap_or_default().into_iter().enumerate()
        {
            let Value(domain) = value.trust_domain;
            let own = id.as_ref().is_some_and(|id| id.trust_domain() == domain.as_str());
            if own || federated.iter().any(|(known, _)| *known == domain) {
                let what = if own { "that of our own identity" } else { "which is there already" };
                let message = format!("expected another trust domain, found {domain}, {what}");
                return Err(part.invalid(
                    referenced,
                    format!("identity.federated[{index}].trust-domain"),
                    message,
                ));
            }
            federated.push((domain, value.bundle.0));
        }
        let revocation_lists = section.revocation_lists.map(|paths| paths.into_values().collect());
        Ok(IdentitySettings { id, source, federated, revocation_lists: revocation_lists.unwrap_or_default() })
    }
}

impl SigningCa {
    fn source(self) -> CertificateSource {
        let Lifetime(lifetime) = or(self.lifetime, Lifetime::default());
        CertificateSource::SigningCa { directory: self.directory.0, lifetime }
    }
}
