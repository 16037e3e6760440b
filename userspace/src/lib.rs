//! Sidestep: eBPF programs on a workload's own cgroup and network namespace steer its sockets into a
//! userspace proxy that belongs to that workload. No netfilter, no conntrack, no change to the workload.
//!
//! # Layout
//!
//! Rooms, from the pure to the wired. Siblings do not import each other; `agent` joins them.
//!
//! - [`model`]: addresses by role, workloads, and the words every room shares (pure)
//! - [`policy`]: which verdict a destination gets, and its compiled form (pure)
//! - [`routing`]: what becomes of a request: rules, filters, retries, limits (pure)
//! - [`config`]: files and flags → meaning
//! - [`datapath`]: the only room that imports aya: load, attach, pin, adopt, rules, counters
//! - [`identity`]: certificates: sources, store, verifier, the development authority
//! - [`netfilter`]: the same capture by iptables, for comparison and for kernels too old
//! - [`proxy`]: the instance: listeners, outbound, inbound, relay, tunnel
//! - [`node`]: which pods of a node are served, and when: a state machine (pure)
//! - [`kubernetes`]: what the API server says of pods, services and policies
//! - [`cni`]: the plugin that has a pod enrolled before its first packet
//! - [`inject`]: a pod's manifest with the sidecar in it
//! - [`telemetry`]: access log, spans and metrics
//! - [`admin`]: readiness, liveness and metrics over HTTP, and a Unix socket for whoever runs it
//! - [`lasting`]: tasks that outlast a panic
//! - [`sys`]: all unsafe code: system calls that no crate wraps
//! - [`agent`]: the only wiring: `run`, `sidecar`, `capture`, `check`, `cleanup`
//! - [`cli`]: the command line
//!
//! # Invariants
//!
//! 1. No netfilter rule, no conntrack dependency, no policy route is ever created in eBPF mode.
//! 2. Nothing is captured that was not asked for: programs attach to the workload's own cgroup and namespace.
//! 3. Fail closed: if the instance dies or is not ready, captured connections are refused.
//! 4. A handoff is never guessed: no original destination, no connection.
//! 5. Two workloads can use identical four-tuples and never see each other's bytes.
//! 6. Bytes are never reordered, lost or duplicated; back-pressure, half-close and reset travel through.
//! 7. Everything attached or pinned is removed by a clean stop, and by `sidestep cleanup` after an unclean one.
//! 8. Identity comes from the workload (cgroup, namespace, certificate), never from an IP address alone.
//! 9. Memory and lookup cost per workload do not grow with the size of the cluster.

pub mod admin;
pub mod agent;
pub mod cli;
pub mod cni;
pub mod config;
pub mod datapath;
pub mod identity;
pub mod inject;
pub mod kubernetes;
pub mod lasting;
pub mod model;
pub mod netfilter;
pub mod node;
pub mod policy;
pub mod proxy;
pub mod routing;
pub mod sys;
pub mod telemetry;
