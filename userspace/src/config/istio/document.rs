//! One document of a file of policies.

use serde::Deserialize;
use serde_saphyr::Location;

use super::authorization::WrittenPolicy;
use super::findings::Findings;
use super::peer::WrittenPeerAuthentication;
use crate::config::value::Value;
use crate::config::yaml::Part;
use crate::config::{Choice, ConfigError};
use crate::model::ObjectKey;
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

impl<'a> Document<'a> {
    /// Reads the one document of a part; nothing if it is empty.
    ///
    /// # Errors
    ///
    /// It is no document of a known kind, or not written as one of its kind.
    pub(super) fn read(part: Part<'a>) -> Result<Option<Self>, ConfigError> {
        // Twice, because a place in the text survives no value in between.
        part.read::<Head>()?.map_or(Ok(None), |head| Self::of_kind(head.kind.0, part))
    }

    /// Reads the one document of a part, which is of this kind; nothing if it is empty.
    ///
    /// # Errors
    ///
    /// It is not written as one of its kind.
    pub(super) fn of_kind(kind: Kind, part: Part<'a>) -> Result<Option<Self>, ConfigError> {
        let mut findings = Findings::new(part);
        Ok(match kind {
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
    pub(super) fn key(&self) -> ObjectKey {
        match self {
            Self::Authorization(policy) => {
                ObjectKey::new("AuthorizationPolicy", &policy.namespace, &policy.name)
            }
            Self::Peer(policy) => ObjectKey::new("PeerAuthentication", &policy.namespace, &policy.name),
        }
    }
}
