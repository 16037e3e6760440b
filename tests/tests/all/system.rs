//! The system ring: servers, clients and a proxy as distributions ship them, none of which knows of Sidestep, and what
//! the README and `deploy/` tell people to type.

mod bench;
mod cni;
mod commands;
mod databases;
mod demo;
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
mod server;
mod telemetry;
mod walk;
mod web;
mod webhook;
mod wire;

use std::path::PathBuf;

use sidestep_tests::sidestep::shipped;

/// The chores' own program, which says where it is when it runs the tests. `cargo xtask` would stand between it and a signal.
fn xtask() -> PathBuf {
    std::env::var_os("SIDESTEP_XTASK").map_or_else(|| shipped("target/debug/xtask"), PathBuf::from)
}
