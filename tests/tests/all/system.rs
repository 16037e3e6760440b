//! The system ring: servers, clients and a proxy as distributions ship them, none of which knows of Sidestep, and what
//! the README and `deploy/` tell people to type.

mod bench;
mod cni;
mod commands;
mod databases;
mod download;
mod edge;
mod envoy;
mod http;
mod inject;
mod instructions;
mod kubernetes;
mod laptop;
mod manifests;
mod node;
mod operate;
mod podman;
mod policy;
mod readme;
mod rootfs;
mod server;
mod telemetry;
mod walk;
mod web;
mod wire;

use std::path::{Path, PathBuf};

/// A file of the checkout that people use as it is.
fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}
