//! What the agent is asked for when a runtime adds a pod to a network, and what it answers.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use crate::model::PodKey;

/// An answer that may take a while.
pub type Answered<'a> = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>>;

/// Whoever has pods enrolled. Calls for one container come one after the other; those for different ones at the same time.
///
/// A future that was begun is polled to its end, even when the runtime has given up: it will ask for a DEL.
pub trait Enrol: Send + Sync + 'static {
    /// Captures a pod, and answers when its first packet would be captured. A second time for the same attachment it answers
    /// as the first time. A pod that is not to be served is an `Ok` too.
    fn add(&self, attachment: Attachment) -> Answered<'_>;

    /// Lets go of a pod that is about to end. One that is not known is an `Ok`.
    fn delete(&self, gone: Detached) -> Answered<'_>;

    /// Whether what [`Enrol::add`] brought about still stands.
    fn check(&self, attachment: Attachment) -> Answered<'_>;

    /// Lets go of every attachment to `network` that is not among the valid ones.
    fn gc(&self, network: String, valid: BTreeSet<AttachmentId>) -> Answered<'_>;

    /// Whether pods could be added now.
    fn status(&self) -> Answered<'_>;
}

/// What the specification knows an attachment by: unique on a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AttachmentId {
    /// `CNI_CONTAINERID`: the runtime's name for the pod's sandbox.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// `CNI_IFNAME`: the interface in the pod.
    #[serde(rename = "ifname")]
    pub interface: String,
}

/// A pod that has its addresses and has not started.
#[derive(Debug)]
pub struct Attachment {
    /// The runtime's name for the pod's sandbox, and the interface in it.
    pub id: AttachmentId,
    /// The name of the network.
    pub network: String,
    /// The pod's network namespace. It lives as long as this does, even when the pod is deleted meanwhile.
    pub netns: OwnedFd,
    /// Where the runtime has it, in the runtime's mount namespace.
    pub netns_path: PathBuf,
    /// Which pod.
    pub pod: PodKey,
    /// `metadata.uid`, where the runtime tells it.
    pub uid: Option<String>,
    /// What the plugins before ours have given it.
    pub addresses: Vec<IpAddr>,
}

/// A pod that ends, or never was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detached {
    /// The runtime's name for the pod's sandbox, and the interface in it.
    pub id: AttachmentId,
    /// The name of the network.
    pub network: String,
    /// Where the runtime had its namespace; none once that is gone.
    pub netns_path: Option<PathBuf>,
    /// Which pod, where the runtime tells it.
    pub pod: Option<PodKey>,
}

/// Why the agent does not do what it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What the runtime is to make of it.
    pub kind: RefusalKind,
    /// What was expected and found, for the pod's events.
    pub message: String,
}

/// What a runtime is to make of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// It passes: another try may succeed.
    TryAgain,
    /// The pod is gone: there is nothing to clean up.
    Gone,
    /// This pod cannot be served as it is.
    Unservable,
    /// The node cannot take pods now ([`Enrol::status`]).
    Unavailable,
}

impl Refusal {
    /// A refusal of one kind.
    #[must_use]
    pub fn new(kind: RefusalKind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}
