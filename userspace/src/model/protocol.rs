//! What is spoken on a connection, as declared or as found.

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2 with prior knowledge, gRPC included.
    Http2,
    /// TLS, which is not looked into.
    Tls,
    /// Something else.
    Opaque,
    /// Datagrams, which are never captured: only their refusals are told.
    Udp,
}

impl Protocol {
    /// The word used in logs and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Http1 => "http",
            Self::Http2 => "http2",
            Self::Tls => "tls",
            Self::Opaque => "opaque",
            Self::Udp => "udp",
        }
    }

    /// Whether it is HTTP of either kind.
    #[must_use]
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Http1 | Self::Http2)
    }

    /// What a port's name declares: its part before the first `-`, as Istio reads it
    /// (<https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/>).
    #[must_use]
    pub fn of_port_name(name: &str) -> Option<Self> {
        let prefix = if name.starts_with("grpc-web") { "grpc-web" } else { name.split('-').next()? };
        Self::of_word(prefix)
    }

    /// What `appProtocol` declares: Istio's words and those of Kubernetes (KEP-3726).
    #[must_use]
    pub fn of_app_protocol(said: &str) -> Option<Self> {
        match said {
            "kubernetes.io/h2c" => Some(Self::Http2),
            "kubernetes.io/ws" => Some(Self::Http1),
            "kubernetes.io/wss" => Some(Self::Tls),
            _ => Self::of_word(said),
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        let known = |words: &[&str]| words.iter().any(|known| known.eq_ignore_ascii_case(word));
        if known(&["http", "grpc-web"]) {
            Some(Self::Http1)
        } else if known(&["http2", "h2c", "grpc"]) {
            Some(Self::Http2)
        } else if known(&["https", "tls"]) {
            Some(Self::Tls)
        } else if known(&["tcp", "mongo", "mysql", "redis", "postgres", "postgresql"]) {
            Some(Self::Opaque)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_declared_by_a_ports_name_or_by_its_application() {
        for (name, declared) in [
            ("http", Some(Protocol::Http1)),
            ("http-web", Some(Protocol::Http1)),
            ("grpc-web", Some(Protocol::Http1)),
            ("grpc-web-1", Some(Protocol::Http1)),
            ("grpc-orders", Some(Protocol::Http2)),
            ("http2-web", Some(Protocol::Http2)),
            ("https", Some(Protocol::Tls)),
            ("mysql-main", Some(Protocol::Opaque)),
            ("web", None),
            ("httpbin", None),
        ] {
            assert_eq!(Protocol::of_port_name(name), declared, "{name}");
        }
        assert_eq!(Protocol::of_app_protocol("kubernetes.io/h2c"), Some(Protocol::Http2));
        assert_eq!(Protocol::of_app_protocol("HTTPS"), Some(Protocol::Tls));
        assert_eq!(Protocol::of_app_protocol("example.com/custom"), None);
    }
}
