//! Resources that stand for themselves: one that is not valid is rejected alone, and the others stay in force.
//!
//! Several to a file. At a reload the last good version of a resource that is no longer valid stays in force too; at the
//! start there is none, and it is as if it were not there. Which resource a document was meant to be is taken from its kind,
//! namespace and name, whatever else is wrong with it; where not even these can be read, nothing is given up that came from
//! the same file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::ConfigError;
use super::gateway::{WrittenGrant, WrittenRoute};
use super::istio::destination::WrittenDestinationRule;
use super::value::Value;
use super::yaml::Part;
use crate::model::ObjectKey;
use crate::routing::{DestinationRule, HttpRoute, ReferenceGrant, ServiceName};

/// The beginning of every document, whatever else is in it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a Kubernetes resource")]
struct Head {
    kind: Spanned<Value<String>>,
    metadata: Option<HeadMetadata>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "the metadata of an object")]
struct HeadMetadata {
    name: Option<Value<String>>,
    namespace: Option<Value<String>>,
}

/// A document that is no valid resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Which resource it was meant to be, if that could be read.
    pub key: Option<ObjectKey>,
    /// File, place, field, what was expected and what was found.
    pub message: String,
    /// Whether its last good version, or what else came from its file, is in force.
    pub kept: bool,
    file: PathBuf,
}

/// A resource in force.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    key: ObjectKey,
    file: PathBuf,
    resource: Resource,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Resource {
    Route(HttpRoute),
    Destination(DestinationRule),
    Grant(ReferenceGrant),
}

/// Where routes may lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum References {
    /// Wherever they say: whoever writes the files writes all of them.
    #[default]
    Free,
    /// To services of their own namespace, and where a ReferenceGrant lets them.
    Granted,
}

/// A route that leads where it may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ungranted {
    /// Which route.
    pub key: ObjectKey,
    /// The namespaces whose grants it lacks.
    pub namespaces: BTreeSet<String>,
    /// What it leads to, for people.
    pub message: String,
}

/// The resources of several files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    references: References,
    known: Vec<Known>,
    rejected: Vec<Rejected>,
}

impl Known {
    const fn route(&self) -> Option<&HttpRoute> {
        match &self.resource {
            Resource::Route(route) => Some(route),
            Resource::Destination(_) | Resource::Grant(_) => None,
        }
    }
}

impl Resources {
    /// Resources that many people write, so that routes are held to ReferenceGrants.
    #[must_use]
    pub(super) fn of_cluster() -> Self {
        Self { references: References::Granted, ..Self::default() }
    }

    /// The routes in force.
    #[must_use]
    pub fn routes(&self) -> Vec<HttpRoute> {
        let grants = self.grants();
        let routes = self.known.iter().filter_map(Known::route).cloned();
        match self.references {
            References::Free => routes.collect(),
            References::Granted => routes.map(|route| route.held_to(&grants)).collect(),
        }
    }

    /// The routes that lead where they may not: what they send there is answered with 500.
    #[must_use]
    pub fn ungranted(&self) -> Vec<Ungranted> {
        if self.references == References::Free {
            return Vec::new();
        }
        let grants = self.grants();
        let ungranted = |known: &Known| {
            let services: BTreeSet<&ServiceName> = known.route()?.not_granted(&grants).collect();
            let names: Vec<String> = services.iter().map(ToString::to_string).collect();
            (!services.is_empty()).then(|| Ungranted {
                key: known.key.clone(),
                namespaces: services.iter().map(|service| service.namespace().to_owned()).collect(),
                message: format!(
                    "expected a ReferenceGrant in the namespace of every service of another one, found none for {}; \
                     requests for them are answered with 500",
                    names.join(", ")
                ),
            })
        };
        self.known.iter().filter_map(ungranted).collect()
    }

    fn grants(&self) -> Vec<ReferenceGrant> {
        let grants = self.known.iter().filter_map(|known| match &known.resource {
            Resource::Grant(grant) => Some(grant.clone()),
            Resource::Route(_) | Resource::Destination(_) => None,
        });
        grants.collect()
    }

    /// The destination rules in force.
    #[must_use]
    pub fn destination_rules(&self) -> Vec<DestinationRule> {
        let rules = self.known.iter().filter_map(|known| match &known.resource {
            Resource::Destination(rule) => Some(rule.clone()),
            Resource::Route(_) | Resource::Grant(_) => None,
        });
        rules.collect()
    }

    /// What was rejected.
    #[must_use]
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// The same, with what `running` has in force in place of what is rejected here.
    #[must_use]
    pub fn keeping(mut self, running: &Self) -> Self {
        for rejected in &mut self.rejected {
            let meant = |known: &&Known| match &rejected.key {
                Some(key) => known.key == *key,
                None => known.file == rejected.file,
            };
            for last in running.known.iter().filter(meant) {
                rejected.kept = true;
                if self.known.iter().all(|known| known.key != last.key) {
                    self.known.push(last.clone());
                }
            }
        }
        self
    }

    /// Reads the resources of one more file.
    pub(super) fn read(&mut self, file: &Path, text: &str) {
        for part in Part::whole(file, text).documents() {
            let head = match part.read::<Head>() {
                Ok(None) => continue,
                Ok(Some(head)) => head,
                Err(error) => {
                    self.reject(file, None, &error);
                    continue;
                }
            };
            let key = head.key();
            let read =
                self.expect_new(key.as_ref(), &head, part).and_then(|()| head.read(part, self.references));
            match (read, key) {
                (Ok(resource), Some(key)) => {
                    self.known.push(Known { key, file: file.to_owned(), resource });
                }
                (Err(error), key) => self.reject(file, key, &error),
                (Ok(_), None) => {
                    let field = "metadata.namespace";
                    let error =
                        part.invalid(Location::UNKNOWN, field, "expected name and namespace, found none");
                    self.reject(file, None, &error);
                }
            }
        }
    }

    fn reject(&mut self, file: &Path, key: Option<ObjectKey>, error: &ConfigError) {
        let message = error.to_string();
        self.rejected.push(Rejected { key, message, kept: false, file: file.to_owned() });
    }

    /// Of two documents with one name the first counts.
    fn expect_new(&self, key: Option<&ObjectKey>, head: &Head, part: Part<'_>) -> Result<(), ConfigError> {
        match self.known.iter().find(|known| Some(&known.key) == key) {
            None => Ok(()),
            Some(other) => {
                let message = format!(
                    "expected every resource once, found {} again (the other is in {})",
                    other.key,
                    other.file.display()
                );
                Err(part.invalid(head.kind.referenced, "metadata", message))
            }
        }
    }
}

impl Head {
    /// Which resource it is, if it has both names.
    fn key(&self) -> Option<ObjectKey> {
        let metadata = self.metadata.as_ref()?;
        let (Value(namespace), Value(name)) = (metadata.namespace.as_ref()?, metadata.name.as_ref()?);
        let Value(kind) = &self.kind.value;
        Some(ObjectKey::new(kind, namespace, name))
    }

    /// Reads the whole document as what its kind says.
    fn read(&self, part: Part<'_>, references: References) -> Result<Resource, ConfigError> {
        // It was read before, so that it is not empty.
        let empty = || part.invalid(self.kind.referenced, "kind", "expected a resource, found nothing");
        match self.kind.value.0.as_str() {
            "HTTPRoute" => part.read::<WrittenRoute>()?.ok_or_else(empty)?.route(part).map(Resource::Route),
            "DestinationRule" => part
                .read::<WrittenDestinationRule>()?
                .ok_or_else(empty)?
                .rule(part)
                .map(Resource::Destination),
            "ReferenceGrant" if references == References::Granted => {
                part.read::<WrittenGrant>()?.ok_or_else(empty).map(|grant| Resource::Grant(grant.grant()))
            }
            other => {
                let message = format!("expected one of HTTPRoute, DestinationRule, found {other:?}");
                Err(part.invalid(self.kind.referenced, "kind", message))
            }
        }
    }
}
