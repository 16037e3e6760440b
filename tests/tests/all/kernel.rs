//! The kernel ring: real namespaces, cgroups and programs, peers of our own.

mod capacity;
mod capture;
mod datagrams;
mod escape;
mod faults;
mod foreign;
mod golden;
mod harness;
mod inbound;
mod invariants;
mod lifecycle;
mod mutual_tls;
mod netfilter;
mod node;
mod policy;
mod range;
mod relay;
mod takeover;
mod tunnel;
mod verdicts;
