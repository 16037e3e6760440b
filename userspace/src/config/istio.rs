//! Istio's policies, `AuthorizationPolicy` and `PeerAuthentication`, as they are written for Kubernetes.
//!
//! Several to a file. What is of another kind, or has a field that is not known, is an error: a policy that is taken
//! for less than it says is worse than none. So is what cannot be done here, in a policy that is meant for the workload.
//! What the resources mean together is known by [`crate::policy`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_saphyr::Location;

use super::value::Value;
use super::yaml::Part;
use super::{Choice, ConfigError};
use crate::policy::{Authorization, AuthorizationPolicy, MutualTls, PeerAuthentication, Subject};

mod authorization;
pub(super) mod destination;
mod findings;
mod peer;
mod selector;

use authorization::WrittenPolicy;
use findings::Findings;
use peer::WrittenPeerAuthentication;

/// The beginning of every document, whatever else is in it.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a Kubernetes object")]
struct Head {
    kind: Value<Kind>,
}

/// The kinds that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    AuthorizationPolicy,
    PeerAuthentication,
}

impl Choice for Kind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("AuthorizationPolicy", Self::AuthorizationPolicy),
        ("PeerAuthentication", Self::PeerAuthentication),
    ];
}

/// The one group of policies; its versions are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ApiVersion;

impl Choice for ApiVersion {
    const WORDS: &'static [(&'static str, Self)] =
        &[("security.istio.io/v1", Self), ("security.istio.io/v1beta1", Self)];
}

/// Policies from several files, each there once.
#[derive(Debug, Default)]
pub(super) struct Policies {
    peers: Vec<PeerAuthentication>,
    authorizations: Vec<AuthorizationPolicy>,
    /// What cannot be done here, each with the place in `authorizations` of the policy that asks for it.
    unsupported: Vec<(usize, ConfigError)>,
    /// In which file each was found.
    files: HashMap<(Kind, String, String), PathBuf>,
}

impl Policies {
    /// Reads the policies of one more file.
    ///
    /// # Errors
    ///
    /// Whatever is not a policy, and one that was read before.
    pub(super) fn read(&mut self, file: &Path, text: &str) -> Result<(), ConfigError> {
        for part in Part::whole(file, text).documents() {
            let Some(head) = part.read::<Head>()? else { continue };
            // It was read before, so that it is not empty.
            let empty = || part.invalid(Location::UNKNOWN, "", "expected a policy, found nothing");
            match head.kind.0 {
                Kind::PeerAuthentication => {
                    let written = part.read::<WrittenPeerAuthentication>()?.ok_or_else(empty)?;
                    let at = written.metadata.referenced;
                    let mut findings = Findings::new(part);
                    let policy = written.policy(&mut findings);
                    findings.valid()?;
                    self.expect_new((head.kind.0, &policy.namespace, &policy.name), part, at)?;
                    self.peers.push(policy);
                }
                Kind::AuthorizationPolicy => {
                    let written = part.read::<WrittenPolicy>()?.ok_or_else(empty)?;
                    let at = written.metadata.referenced;
                    let mut findings = Findings::new(part);
                    let policy = written.policy(&mut findings);
                    let unsupported = findings.valid()?;
                    self.expect_new((head.kind.0, &policy.namespace, &policy.name), part, at)?;
                    let index = self.authorizations.len();
                    self.unsupported.extend(unsupported.into_iter().map(|error| (index, error)));
                    self.authorizations.push(policy);
                }
            }
        }
        Ok(())
    }

    /// What the policies say for one workload.
    ///
    /// # Errors
    ///
    /// One that is meant for it asks for what cannot be done here.
    pub(super) fn decide(self, subject: Subject<'_>) -> Result<(MutualTls, Authorization), ConfigError> {
        let meant = |index: usize| {
            let policy = &self.authorizations[index];
            subject.is_meant_by(&policy.namespace, &policy.selector)
        };
        if let Some((_, error)) = self.unsupported.into_iter().find(|(index, _)| meant(*index)) {
            return Err(error);
        }
        let authorization = Authorization::of(&self.authorizations, subject);
        Ok((MutualTls::decide(&self.peers, subject), authorization))
    }

    fn expect_new(
        &mut self,
        (kind, namespace, name): (Kind, &str, &str),
        part: Part<'_>,
        at: Location,
    ) -> Result<(), ConfigError> {
        let key = (kind, namespace.to_owned(), name.to_owned());
        let Some(other) = self.files.insert(key, part.file.to_owned()) else { return Ok(()) };
        let message = format!(
            "expected every resource once, found {namespace}/{name} again (the other is in {})",
            other.display()
        );
        Err(part.invalid(at, "metadata", message))
    }
}

#[cfg(test)]
mod tests;
