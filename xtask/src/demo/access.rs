//! What the demonstration looks for in an access log.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

/// The fields of a line that claims are made about.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Line {
    pub(super) direction: String,
    pub(super) source: Option<SocketAddr>,
    pub(super) original_destination: Option<SocketAddr>,
    pub(super) verdict: String,
    pub(super) reason: String,
    pub(super) tier: String,
    /// SPIFFE IDs, where a certificate has said them.
    pub(super) source_principal: Option<String>,
    pub(super) destination_principal: Option<String>,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
}

impl Line {
    /// Reads a line; one that is not an access log line is none.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Whether it is about a connection of that kind.
    pub(super) fn is(&self, direction: &str, verdict: &str, destination: SocketAddr) -> bool {
        self.direction == direction
            && self.verdict == verdict
            && self.original_destination == Some(destination)
    }

    /// Whether the connection came from there.
    pub(super) fn is_from(&self, client: IpAddr) -> bool {
        self.source.is_some_and(|source| source.ip() == client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"time":"2026-01-01T00:00:00Z","workload":"w","direction":"outbound",
        "source":"10.78.0.1:4000","original_destination":"10.78.0.2:8080","upstream":"10.78.0.2:8080",
        "verdict":"proxy","reason":"default","tier":"relay","bytes_sent":77,"bytes_received":200,
        "duration_us":900,"error":null,"error_side":null}"#;

    #[test]
    fn a_line_is_known_by_direction_verdict_and_destination() {
        let line = Line::read(LINE).unwrap();
        let destination = "10.78.0.2:8080".parse().unwrap();
        assert!(line.is("outbound", "proxy", destination) && line.is_from("10.78.0.1".parse().unwrap()));
        assert!(!line.is("inbound", "proxy", destination) && !line.is("outbound", "deny", destination));
        assert_eq!(Line::read("sidestep 0.1.0 started"), None);
    }
}
