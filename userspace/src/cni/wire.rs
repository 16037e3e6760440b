//! What goes over the socket between plugin and agent: one request and one answer for each connection, each a length of four
//! bytes, big-endian, and as many bytes of JSON. With the first byte of a request that is about a namespace goes its
//! descriptor.
//!
//! The plugin is the agent's own binary, and yet both can be of different versions while an upgrade rolls.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::attachment::{AttachmentId, Refusal};
use crate::model::PodKey;

/// What both sides have to speak alike.
pub(super) const VERSION: u32 = 1;
/// Most bytes of a message: a garbage collection names every pod of a node.
pub(super) const LARGEST: usize = 1 << 20;
/// Bytes of the length before a message.
pub(super) const PREFIX: usize = 4;

/// A message with the version of whoever says it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Versioned<T> {
    pub(super) version: u32,
    #[serde(flatten)]
    pub(super) said: T,
}

/// Only the version, of a message that may not be readable otherwise.
#[derive(Debug, Deserialize)]
struct Version {
    version: u32,
}

/// What the plugin asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub(super) enum Request {
    Add(Subject),
    Check(Subject),
    Delete(Subject),
    Gc { network: String, valid: BTreeSet<AttachmentId> },
    Status,
}

/// Whom a request is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subject {
    pub(super) id: AttachmentId,
    pub(super) network: String,
    pub(super) netns_path: Option<PathBuf>,
    pub(super) pod: Option<Named>,
    pub(super) uid: Option<String>,
    pub(super) addresses: Vec<IpAddr>,
}

/// A [`PodKey`] on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Named {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl From<Named> for PodKey {
    fn from(named: Named) -> Self {
        Self { namespace: named.namespace, name: named.name }
    }
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub(super) enum Answer {
    Done,
    Refused(Refusal),
}

/// A message as it goes over the socket.
pub(super) fn encode<T: Serialize>(said: T) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(&Versioned { version: VERSION, said })?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= LARGEST);
    let length = length.ok_or_else(|| invalid(format!("a message of {} bytes is too long", body.len())))?;
    let mut message = length.to_be_bytes().to_vec();
    message.extend(body);
    Ok(message)
}

/// How long the message is that a prefix announces.
pub(super) fn length(prefix: [u8; PREFIX]) -> io::Result<usize> {
    let length = u32::from_be_bytes(prefix);
    let length = usize::try_from(length).ok().filter(|length| (1..=LARGEST).contains(length));
    length.ok_or_else(|| invalid(format!("expected a message of 1 to {LARGEST} bytes")))
}

/// What a message says.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    let Version { version } = serde_json::from_slice(body)?;
    if version != VERSION {
        return Err(invalid(format!(
            "expected version {VERSION} of the messages between plugin and agent, found {version}"
        )));
    }
    let message: Versioned<T> = serde_json::from_slice(body)?;
    Ok(message.said)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cni::RefusalKind;

    #[test]
    fn what_is_said_is_heard() {
        let id = AttachmentId { container_id: "3b1f".into(), interface: "eth0".into() };
        let subject = Subject {
            id: id.clone(),
            network: "pods".into(),
            netns_path: Some("/run/netns/a".into()),
            pod: Some(Named { namespace: "shop".into(), name: "web".into() }),
            uid: None,
            addresses: vec![[10, 0, 0, 1].into()],
        };
        let requests = [
            Request::Add(subject.clone()),
            Request::Check(subject.clone()),
            Request::Delete(subject),
            Request::Gc { network: "pods".into(), valid: [id].into() },
            Request::Status,
        ];
        for request in requests {
            let message = encode(&request).expect("short enough");
            let (prefix, body) = message.split_at(PREFIX);
            assert_eq!(length(prefix.try_into().expect("four bytes")).expect("in bounds"), body.len());
            assert_eq!(decode::<Request>(body).expect("valid"), request);
        }
        let answer = Answer::Refused(Refusal::new(RefusalKind::TryAgain, "later"));
        let message = encode(&answer).expect("short enough");
        assert_eq!(decode::<Answer>(&message[PREFIX..]).expect("valid"), answer);
    }

    #[test]
    fn another_version_and_lengths_out_of_bounds_are_refused() {
        let error = decode::<Request>(br#"{"version":2,"request":"dance"}"#).expect_err("unknown");
        assert!(error.to_string().contains("found 2"), "{error}");
        assert!(decode::<Request>(b"[]").is_err());
        for prefix in [[0; 4], [0xff; 4], [0, 0x10, 0, 1]] {
            assert!(length(prefix).is_err(), "{prefix:?}");
        }
    }
}
