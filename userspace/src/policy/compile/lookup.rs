//! Which verdict flattened rules give one destination: what the kernel's tables answer, asked without the kernel.
//!
//! For what the instance dials of its own accord, which no hook of the kernel sees.

use std::net::SocketAddr;

use ipnet::IpNet;
use sidestep_abi::verdict::{Reason, Verdict};

use super::{Compiled, Decision, position};

impl Compiled {
    /// The verdict for a destination, as [`super::super::Rules::decide`] gives it.
    ///
    /// Takes one binary search for each length that a prefix can have.
    #[must_use]
    pub fn decide(&self, destination: SocketAddr) -> (Verdict, Reason) {
        let host = IpNet::from(destination.ip().to_canonical());
        let decision = (0..=host.prefix_len()).rev().find_map(|length| {
            let net = IpNet::new(host.addr(), length).ok()?.trunc();
            let found = self.prefixes.binary_search_by_key(&position(&net), |prefix| position(&prefix.net));
            found.ok().and_then(|index| self.prefixes.get(index)).map(|prefix| &prefix.decision)
        });
        match decision {
            None => (self.default, Reason::Default),
            Some(Decision::AllPorts(verdict, reason)) => (*verdict, *reason),
            Some(Decision::ByPort(ranges)) => ranges
                .iter()
                .find(|range| range.ports.contains(destination.port()))
                .map_or((self.default, Reason::Default), |range| (range.verdict, range.reason)),
        }
    }
}
