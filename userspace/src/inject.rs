//! A pod's manifest with the sidecar in it: what the admission webhook answers, and what `sidestep inject` prints.
//!
//! Pure: a manifest and [`Settings`] go in, a manifest or a reason comes out. It reads no files, asks nobody and keeps
//! nothing; whether the configuration that it writes is one is known by [`crate::config`], which the caller asks.
//!
//! # Layout
//! - `settings`: what is the same for all pods
//! - `pod`: one pod, and what keeps the sidecar out of it
//! - `sidecar`: the container and the volumes
//! - `configuration`: what that container is told
//! - `probes`: what the kubelet asks the app's containers
//! - `manifest`: the pods of a file, whatever kinds they are in
//! - `review`: the API server's question, and the answer

mod configuration;
mod manifest;
mod pod;
mod probes;
mod review;
mod settings;
mod sidecar;

pub use manifest::{Check, Fate, Injected, Note, inject};
pub use pod::{Existing, Outcome, Place, Refusal, Untouched, put_in, rehearse};
pub use review::{Answer, Decided, answer};
pub use settings::{IdentitySource, PullPolicy, Settings};

/// The container's name, and the beginning of its volumes' names.
pub const CONTAINER: &str = "sidestep";
/// Says that the sidecar is in a pod. Written by injection, read by it and by other nodes.
pub const STATUS: &str = "sidestep.io/status";
/// The value of [`STATUS`].
pub const INJECTED: &str = "injected";
/// With the value `false`, as a pod's annotation or label: no sidecar, please.
pub const INJECT: &str = "sidestep.io/inject";
/// Sections of the sidecar's configuration that the pod wants otherwise than [`Settings::sidecar`] says: YAML.
pub const SIDECAR: &str = "sidestep.io/sidecar";
/// The whole configuration, as injection has written it and the sidecar reads it.
pub const CONFIGURATION: &str = "sidestep.io/config";

#[cfg(test)]
mod tests;
