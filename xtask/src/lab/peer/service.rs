//! What the server does for its clients, each at a port of its own.

use std::net::SocketAddr;

use anyhow::{Context, Result};

/// One kind of answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// Whatever comes goes back, on few connections.
    Echo,
    /// One request per connection, one connection at a time.
    Answer,
    /// One request per connection, many connections at a time.
    AnswerMany,
    /// As many bytes as are asked for, in both directions.
    Bulk,
    /// HTTP/1.1, many connections at a time.
    Http,
    /// HTTP/2 with prior knowledge, gRPC included.
    Http2,
    /// Spans are taken over gRPC and forgotten.
    Collector,
}

impl Service {
    /// All of them.
    pub(crate) const ALL: [Self; 7] =
        [Self::Echo, Self::Answer, Self::AnswerMany, Self::Bulk, Self::Http, Self::Http2, Self::Collector];

    /// Where it is found.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Echo => 7001,
            Self::Answer => 7002,
            Self::AnswerMany => 7003,
            Self::Bulk => 7004,
            Self::Http => 7005,
            Self::Http2 => 7006,
            // Where collectors take OTLP over gRPC.
            Self::Collector => 4317,
        }
    }

    /// What belongs at an address.
    pub(super) fn at(address: SocketAddr) -> Result<Self> {
        let ports = || Self::ALL.map(Self::port);
        Self::ALL
            .into_iter()
            .find(|service| service.port() == address.port())
            .with_context(|| format!("expected one of the ports {:?}, found {address}", ports()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_stands_for_one_service() {
        for service in Service::ALL {
            assert_eq!(Service::at(SocketAddr::from(([10, 78, 0, 2], service.port()))).unwrap(), service);
        }
        let error = Service::at("10.78.0.2:80".parse().unwrap()).unwrap_err().to_string();
        assert!(error.ends_with("found 10.78.0.2:80"), "{error}");
    }
}
