//! What is looked at and what a request may take: a snapshot that connections take when they are accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Direction, Protocol, Sampling};

/// What is looked at in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Looking {
    /// Nothing.
    #[default]
    Off,
    /// Only what was declared to be HTTP.
    Declared,
    /// Everything that was not declared to be something else.
    Detect,
}

/// The terms of HTTP. The default looks at nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTerms {
    /// Connections that the workload makes.
    pub outbound: Looking,
    /// Connections to the workload.
    pub inbound: Looking,
    /// What the workload's own ports are declared to speak.
    pub ports: BTreeMap<u16, Protocol>,
    /// Ports of original destinations that are never looked at, both ways.
    pub opaque_ports: BTreeSet<u16>,
    /// Bytes of one head, at least 8 KiB.
    pub max_header_size: usize,
    /// How long the head of a request may take from its first byte.
    pub header_timeout: Duration,
    /// How long a client's connection may stand without a request.
    pub idle_timeout: Duration,
    /// Requests that the instance has in flight at a time.
    pub max_requests: usize,
    /// Which requests are traced; without it traces pass as they come.
    pub sampling: Option<Sampling>,
}

impl Default for HttpTerms {
    fn default() -> Self {
        Self {
            outbound: Looking::Off,
            inbound: Looking::Off,
            ports: BTreeMap::new(),
            opaque_ports: BTreeSet::new(),
            max_header_size: 64 << 10,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            max_requests: 10_000,
            sampling: None,
        }
    }
}

/// What is to be done with a connection before anything of it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Plan {
    /// It is not looked at; what it was declared to speak.
    Pass(Option<Protocol>),
    /// Its first bytes decide.
    Look,
    /// It has to be HTTP.
    Demand,
}

impl Plan {
    /// The same where what is said makes a difference, so that somebody looks wherever there may be something to see.
    pub(in crate::proxy) const fn looking(self) -> Self {
        match self {
            Self::Pass(None | Some(Protocol::Http1 | Protocol::Http2)) => Self::Look,
            Self::Pass(Some(_)) | Self::Look | Self::Demand => self,
        }
    }
}

impl HttpTerms {
    /// What is to be done with a connection to `port` that is declared to speak `declared`.
    pub(in crate::proxy) fn plan(&self, direction: Direction, port: u16, declared: Option<Protocol>) -> Plan {
        let (looking, declared) = match direction {
            Direction::Outbound => (self.outbound, declared),
            Direction::Inbound => (self.inbound, self.ports.get(&port).copied().or(declared)),
        };
        match (looking, declared) {
            _ if self.opaque_ports.contains(&port) => Plan::Pass(Some(Protocol::Opaque)),
            (Looking::Off, declared) => Plan::Pass(declared),
            (_, Some(Protocol::Http1 | Protocol::Http2)) => Plan::Demand,
            // TLS is looked at for its server name alone, which costs nothing where the rest is looked at anyway.
            (Looking::Detect, None | Some(Protocol::Tls)) => Plan::Look,
            (Looking::Detect, Some(Protocol::Opaque | Protocol::Udp)) | (Looking::Declared, _) => {
                Plan::Pass(declared)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_declared_is_not_looked_at_and_what_is_http_is_demanded() {
        let terms = HttpTerms {
            outbound: Looking::Detect,
            inbound: Looking::Declared,
            ports: BTreeMap::from([(8080, Protocol::Http1)]),
            opaque_ports: BTreeSet::from([3306]),
            ..HttpTerms::default()
        };
        let out = |port, declared| terms.plan(Direction::Outbound, port, declared);
        assert_eq!(out(80, None), Plan::Look);
        assert_eq!(out(80, Some(Protocol::Http2)), Plan::Demand);
        assert_eq!(out(80, Some(Protocol::Opaque)), Plan::Pass(Some(Protocol::Opaque)));
        assert_eq!(out(3306, Some(Protocol::Http1)), Plan::Pass(Some(Protocol::Opaque)));
        assert_eq!(terms.plan(Direction::Inbound, 8080, None), Plan::Demand);
        assert_eq!(terms.plan(Direction::Inbound, 9090, None), Plan::Pass(None));
        assert_eq!(
            HttpTerms::default().plan(Direction::Outbound, 80, Some(Protocol::Http1)),
            Plan::Pass(Some(Protocol::Http1))
        );
    }
}
