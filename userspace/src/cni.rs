//! The chained CNI plugin (Container Network Interface specification 0.3 to 1.1): the runtime calls it for every pod, it asks
//! the node's agent over a Unix socket, and returns only when the pod is captured.
//!
//! # Layout
//! - [`plugin`]: what the runtime runs: environment and standard input in, a result or an error out
//! - `call`, `network`, `fault`: what it is told, and how it says what went wrong
//! - `client`, [`server`], `wire`: both ends of the socket, and what goes over it
//! - `peer`: who is at the other end of it
//! - `attachment`: what the agent is asked for, [`Enrol`]
//! - [`install`]: the plugin's binary and its entry in the node's network configuration
//!
//! Knows no pods: whether one is to be served, and how, is the business of whoever implements [`Enrol`].

mod attachment;
mod call;
mod client;
mod fault;
pub mod install;
mod network;
mod peer;
pub mod plugin;
pub mod server;
mod wire;

pub use attachment::{Answered, Attachment, AttachmentId, Detached, Enrol, Refusal, RefusalKind};
pub use install::{Install, Installed, Keeping};
pub use network::OnFailure;

/// What the plugin is called in network configurations, and the name of its file.
pub const PLUGIN: &str = "sidestep-cni";
/// Where the agent listens for it, in a directory of its own.
pub const SOCKET: &str = "/run/sidestep/cni/agent.sock";
