//! What comes from files beside the source: bundles of other trust domains and revocation lists.

use std::path::PathBuf;
use std::sync::Arc;

use super::Settings;
use super::bundle::{Bundle, Bundles};
use super::layout;
use super::revocation::read_lists;
use super::trust::Revocation;
use crate::model::TrustDomain;

/// The files that the settings name.
#[derive(Clone, Debug)]
pub(super) struct External {
    federated: Vec<(TrustDomain, PathBuf)>,
    revocation_lists: Vec<PathBuf>,
}

/// What was in them.
#[derive(Debug)]
pub(super) struct Found {
    /// The bundles that could be read.
    pub(super) bundles: Bundles,
    /// What is wrong with the others.
    pub(super) federated_failure: Option<String>,
    /// The lists, or why there are none.
    pub(super) revocation: Revocation,
}

impl External {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { federated: settings.federated.clone(), revocation_lists: settings.revocation_lists.clone() }
    }

    /// The files to watch.
    pub(super) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.federated.iter().map(|(_, path)| path).chain(&self.revocation_lists).cloned()
    }

    /// The trust domains that have a bundle in a file.
    pub(super) fn domains(&self) -> impl Iterator<Item = &TrustDomain> {
        self.federated.iter().map(|(domain, _)| domain)
    }

    /// Reads all of them. Blocks.
    pub(super) fn read(&self) -> Found {
        let (mut bundles, mut federated_failure) = (Bundles::new(), None);
        for (domain, path) in &self.federated {
            let read = layout::read(path)
                .and_then(|pem| Bundle::of_pem(&pem).map_err(|error| format!("{}: {error}", path.display())));
            match read {
                Ok(bundle) => drop(bundles.insert(domain.clone(), Arc::new(bundle))),
                Err(error) => federated_failure = Some(format!("the bundle of {domain}: {error}")),
            }
        }
        Found { bundles, federated_failure, revocation: self.read_revocation() }
    }

    fn read_revocation(&self) -> Revocation {
        if self.revocation_lists.is_empty() {
            return Revocation::Off;
        }
        let mut lists = Vec::new();
        for path in &self.revocation_lists {
            let read = layout::read(path)
                .and_then(|bytes| read_lists(&bytes).map_err(|error| format!("{}: {error}", path.display())));
            match read {
                Ok(found) => lists.extend(found),
                Err(error) => return Revocation::Unreadable(error),
            }
        }
        Revocation::Lists(lists)
    }
}
