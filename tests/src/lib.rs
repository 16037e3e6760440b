//! The test harness: workloads made of network namespaces and cgroups, peers that answer with their own
//! name, and the product's binary under test.
//!
//! It runs wherever a kernel and iproute2's `ip` are, as root: the peers are part of this crate, so that a
//! virtual machine with a bare kernel needs neither servers nor clients from a distribution. It knows the
//! product only from outside: command line, configuration file, access log, metrics.
//!
//! # Layout
//!
//! - [`namespace`], [`cgroup`], [`pod`]: what a workload is made of; all of it goes when it is dropped
//! - [`place`], [`process`]: programs started inside a workload, and what they print
//! - [`peer`]: the programs of the `sidestep-peer` binary, and the [`peer::Event`]s they report
//! - [`node`]: the agent of a node with its API server, and what a kubelet and a container runtime do
//! - [`runtime`], [`rootfs`]: a container runtime that calls CNI plugins, and the files of its image
//! - [`sidestep`], [`access`], [`metrics`]: the product under test and its two oracles
//! - [`mesh`]: an authority for certificates, and policies
//! - [`hosts`]: certificates of servers outside of it
//! - [`api`]: a Kubernetes API server
//! - [`pinned`]: its maps, for what cannot be brought about from outside
//! - [`leftovers`]: the proof that nothing stays behind
//! - [`need`]: what a test needs from the machine, and how it says that it cannot run
//! - [`mod@patience`]: waiting without sleeping for a fixed time
//!
//! # Environment
//!
//! - `SIDESTEP_BIN`: the product's binary; default: `sidestep` beside the test binary's directory
//! - `SIDESTEP_PEER`: the peer binary; default: `sidestep-peer` at the same place
//! - `SIDESTEP_ENVOY`: an Envoy binary, for the tests with a foreign proxy
//! - `SIDESTEP_H2`: a directory with the Python package `h2`
//! - `SIDESTEP_HTTP_PACKAGES`: a directory with the Python packages `grpcio` and `websockets`
//! - `SIDESTEP_PATIENCE`: seconds that a condition may take to come true; default 10
//! - `SIDESTEP_SKIPS`: file to which a test that cannot run adds a line `name: reason`
//! - `SIDESTEP_MUST_RUN`: set to 1, a test that cannot run fails instead

pub mod access;
pub mod api;
pub mod cgroup;
pub mod hosts;
pub mod leftovers;
pub mod mesh;
pub mod metrics;
pub mod namespace;
pub mod need;
pub mod node;
pub mod patience;
pub mod peer;
pub mod pinned;
pub mod place;
pub mod pod;
pub mod process;
pub mod rootfs;
pub mod runtime;
pub mod sidestep;

pub use access::Access;
pub use api::Api;
pub use cgroup::Cgroup;
pub use hosts::Hosts;
pub use mesh::Mesh;
pub use namespace::Namespace;
pub use need::{Need, Tool};
pub use node::Node;
pub use patience::{eventually, patience};
pub use peer::Event;
pub use pinned::PinnedMap;
pub use place::Place;
pub use pod::Pod;
pub use process::Process;
pub use runtime::Runtime;
pub use sidestep::{Config, Sidestep};
