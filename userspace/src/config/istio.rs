//! Istio's policies, `AuthorizationPolicy` and `PeerAuthentication`, as they are written for Kubernetes.
//!
//! Several to a file. What is of another kind, or has a field that is not known, is an error: a policy that is taken
//! for less than it says is worse than none. So is what cannot be done here, in a policy that is meant for the workload.
//! What the resources mean together is known by [`crate::policy`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use serde_saphyr::Location;

use super::yaml::Part;
use super::{Choice, ConfigError};
use crate::model::ObjectKey;
use crate::policy::{Authorization, AuthorizationPolicy, MutualTls, PeerAuthentication, Subject};

mod advice;
mod authorization;
pub(super) mod destination;
mod document;
mod findings;
mod held;
mod lint;
mod memory;
mod peer;
mod selector;

use document::{Document, Policy};
pub(super) use held::Held;
pub use lint::{Finding, Lint, Weight, lint};
pub(super) use memory::Memory;
use memory::Remembered;

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
    names: Names,
}

/// In which file each policy was found.
#[derive(Debug, Default)]
struct Names(HashMap<ObjectKey, PathBuf>);

impl Names {
    /// Remembers a policy.
    ///
    /// # Errors
    ///
    /// It was found before.
    fn expect_new(&mut self, key: ObjectKey, part: Part<'_>, at: Location) -> Result<(), ConfigError> {
        match self.0.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(part.file.to_owned());
                Ok(())
            }
            Entry::Occupied(entry) => {
                let (ObjectKey { namespace, name, .. }, file) = (entry.key(), entry.get().display());
                let message = format!(
                    "expected every resource once, found {namespace}/{name} again (the other is in {file})"
                );
                Err(part.invalid(at, "metadata", message))
            }
        }
    }
}

impl Policies {
    /// Reads the policies of one more file.
    ///
    /// # Errors
    ///
    /// Whatever is not a policy, and one that was read before.
    pub(super) fn read(&mut self, file: &Path, text: &str, memory: &mut Memory) -> Result<(), ConfigError> {
        for part in Part::whole(file, text).documents() {
            if let Some(Remembered { policy, at }) = memory.recall(part.text) {
                self.names.expect_new(policy.key(), part, at)?;
                self.add(policy, Vec::new());
                continue;
            }
            let Some(document) = Document::read(part)? else { continue };
            let Document { policy, findings, at, .. } = document;
            let unsupported = findings.valid()?;
            self.names.expect_new(policy.key(), part, at)?;
            if unsupported.is_empty() {
                memory.keep(part.text, &policy, at);
            }
            self.add(policy, unsupported);
        }
        Ok(())
    }

    fn add(&mut self, policy: Policy, unsupported: Vec<ConfigError>) {
        match policy {
            Policy::Peer(policy) => self.peers.push(policy),
            Policy::Authorization(policy) => {
                let index = self.authorizations.len();
                self.unsupported.extend(unsupported.into_iter().map(|error| (index, error)));
                self.authorizations.push(policy);
            }
        }
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
}

#[cfg(test)]
mod tests;
