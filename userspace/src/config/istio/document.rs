//! One document of a file of policies.

use serde::Deserialize;
use serde_saphyr::Location;

use super::authorization::WrittenPolicy;
use super::findings::Findings;
use super::peer::WrittenPeerAuthentication;
use crate::config::value::Value;
use crate::config::yaml::Part;
use crate::config::{Choice, ConfigError};
use crate::policy::{AuthorizationPolicy, PeerAuthentication};

/// The beginning of every document, whatever else is in it.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a Kubernetes object")]
struct Head {
    kind: Value<Kind>,
}

/// The kinds that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    AuthorizationPolicy,
    PeerAuthentication,
}

impl Choice for Kind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("AuthorizationPolicy", Self::AuthorizationPolicy),
        ("PeerAuthentication", Self::PeerAuthentication),
    ];
}

/// A policy as far as it could be read, and what is wrong with it.
pub(super) struct Document<'a> {
    pub(super) policy: Policy,
    pub(super) findings: Findings<'a>,
    /// Where its metadata stands.
    pub(super) at: Location,
    /// Where each of its rules stands.
    pub(super) rules: Vec<Location>,
}

#[derive(Clone, Debug)]
pub(super) enum Policy {
    Authorization(AuthorizationPolicy),
    Peer(PeerAuthentication),
}

/// Which policy: a name belongs to one of a kind in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    /// That of a policy.
    pub(super) fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl<'a> Document<'a> {
    /// Reads the one document of a part; nothing if it is empty.
    ///
    /// # Errors
    ///
    /// It is no document of a known kind, or not written as one of its kind.
    pub(super) fn read(part: Part<'a>) -> Result<Option<Self>, ConfigError> {
        let Some(head) = part.read::<Head>()? else { return Ok(None) };
        let mut findings = Findings::new(part);
        // It was read before, so that it is not empty now.
        Ok(match head.kind.0 {
            Kind::AuthorizationPolicy => part.read::<WrittenPolicy>()?.map(|written| {
                let (at, rules) = (written.metadata.referenced, written.rules());
                let policy = Policy::Authorization(written.policy(&mut findings));
                Self { policy, findings, at, rules }
            }),
            Kind::PeerAuthentication => part.read::<WrittenPeerAuthentication>()?.map(|written| {
                let at = written.metadata.referenced;
                let policy = Policy::Peer(written.policy(&mut findings));
                Self { policy, findings, at, rules: Vec::new() }
            }),
        })
    }
}

impl Policy {
    /// Which policy it is.
    pub(super) fn key(&self) -> Key {
        let (kind, namespace, name) = match self {
            Self::Authorization(policy) => (Kind::AuthorizationPolicy, &policy.namespace, &policy.name),
            Self::Peer(policy) => (Kind::PeerAuthentication, &policy.namespace, &policy.name),
        };
        Key::new(kind, namespace, name)
    }
}
