//! `http:`: where connections are looked at, and what a request may take.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::Protocol;

/// What is looked at in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Looking {
    /// Nothing.
    Off,
    /// Only what was declared to be HTTP.
    Declared,
    /// Everything that was not declared to be something else.
    #[default]
    Detect,
}

/// `http:`; without the section no connection is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// `outbound`; default `detect`.
    pub outbound: Looking,
    /// `inbound`; default `detect`.
    pub inbound: Looking,
    /// `ports`: what the workload's own ports speak.
    pub ports: BTreeMap<u16, Protocol>,
    /// `opaque-ports`: original destinations that are never looked at, both ways.
    pub opaque_ports: BTreeSet<u16>,
    /// `max-header-size`: bytes of one request's or answer's head, from 8 KiB; default 64 KiB.
    pub max_header_size: usize,
    /// `header-timeout`: how long the head of a request may take from its first byte; default 10 s.
    pub header_timeout: Duration,
    /// `idle-timeout`: how long a client's connection may stand without a request; default 5 min.
    pub idle_timeout: Duration,
    /// `max-requests`: how many the instance has in flight at a time; default 10,000.
    pub max_requests: usize,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            outbound: Looking::Detect,
            inbound: Looking::Detect,
            ports: BTreeMap::new(),
            opaque_ports: BTreeSet::new(),
            max_header_size: 64 << 10,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            max_requests: 10_000,
        }
    }
}
