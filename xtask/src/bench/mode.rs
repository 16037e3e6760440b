//! The ways a connection can take that are compared.

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::seating::Hop;
use super::work::Work;

/// One way from client to server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// No capture and no proxy anywhere.
    NoCapture,
    /// eBPF attached; its verdict for the server is `direct`.
    Direct,
    /// Through our relay, steered by eBPF.
    RelayEbpf,
    /// Through our relay, steered by iptables.
    RelayIptables,
    /// Through Envoy as a TCP proxy, steered by iptables.
    EnvoyTcpIptables,
    /// Through the same Envoy, steered by our eBPF.
    EnvoyTcpEbpf,
    /// Through Envoy as an HTTP proxy, steered by iptables.
    EnvoyHttpIptables,
    /// Through the same Envoy, steered by our eBPF.
    EnvoyHttpEbpf,
    /// Through HAProxy as a TCP proxy, steered by iptables.
    HaproxyIptables,
    /// Through nginx as a TCP proxy, steered by iptables.
    NginxIptables,
    /// Through an Envoy on either side with mutual TLS between the two, steered by iptables.
    EnvoyTlsIptables,
    /// Through a sidecar of ours on either side with a tunnel between the two, steered by eBPF.
    Tunnel,
}

/// What decides that a connection leaves its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capture {
    /// Nothing looks at it.
    None,
    /// Our eBPF looks at it and lets it go.
    Direct,
    /// Our eBPF steers it to the proxy.
    Ebpf,
    /// A REDIRECT rule steers it to the proxy.
    Iptables,
}

/// What carries the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proxy {
    /// Nothing: client and server talk to each other.
    None,
    /// Our relay.
    Ours,
    /// Envoy, which does not look at the bytes.
    EnvoyTcp,
    /// Envoy, which reads them as HTTP/1.1.
    EnvoyHttp,
    /// HAProxy, which does not look at the bytes.
    Haproxy,
    /// nginx, which does not look at the bytes.
    Nginx,
    /// Two Envoys that do not look at the bytes, with mutual TLS between them.
    EnvoyTls,
    /// Our tunnel between two sidecars.
    Tunnel,
}

impl Mode {
    /// All of them, the reference first.
    pub(crate) const ALL: [Self; 12] = [
        Self::NoCapture,
        Self::Direct,
        Self::RelayEbpf,
        Self::RelayIptables,
        Self::EnvoyTcpIptables,
        Self::EnvoyTcpEbpf,
        Self::EnvoyHttpIptables,
        Self::EnvoyHttpEbpf,
        Self::HaproxyIptables,
        Self::NginxIptables,
        Self::EnvoyTlsIptables,
        Self::Tunnel,
    ];

    /// What is encrypted on its way, and what that is compared with.
    pub(crate) const TUNNELS: [Self; 3] = [Self::NoCapture, Self::EnvoyTlsIptables, Self::Tunnel];

    /// What tables call it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::NoCapture => "no capture",
            Self::Direct => "direct verdict",
            Self::RelayEbpf => "our relay, eBPF",
            Self::RelayIptables => "our relay, iptables",
            Self::EnvoyTcpIptables => "Envoy TCP, iptables",
            Self::EnvoyTcpEbpf => "Envoy TCP, our eBPF",
            Self::EnvoyHttpIptables => "Envoy HTTP, iptables",
            Self::EnvoyHttpEbpf => "Envoy HTTP, our eBPF",
            Self::HaproxyIptables => "HAProxy TCP, iptables",
            Self::NginxIptables => "nginx stream, iptables",
            Self::EnvoyTlsIptables => "Envoy mTLS, both sides",
            Self::Tunnel => "our tunnel, both sides",
        }
    }

    /// What names of things and fields call it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::NoCapture => "none",
            Self::Direct => "direct",
            Self::RelayEbpf => "ebpf",
            Self::RelayIptables => "iptables",
            Self::EnvoyTcpIptables => "envoy-tcp-iptables",
            Self::EnvoyTcpEbpf => "envoy-tcp-ebpf",
            Self::EnvoyHttpIptables => "envoy-http-iptables",
            Self::EnvoyHttpEbpf => "envoy-http-ebpf",
            Self::HaproxyIptables => "haproxy-iptables",
            Self::NginxIptables => "nginx-iptables",
            Self::EnvoyTlsIptables => "envoy-tls-iptables",
            Self::Tunnel => "tunnel",
        }
    }

    /// How connections come to the proxy.
    pub(crate) fn capture(self) -> Capture {
        match self {
            Self::NoCapture => Capture::None,
            Self::Direct => Capture::Direct,
            Self::RelayEbpf | Self::EnvoyTcpEbpf | Self::EnvoyHttpEbpf | Self::Tunnel => Capture::Ebpf,
            Self::RelayIptables
            | Self::EnvoyTcpIptables
            | Self::EnvoyHttpIptables
            | Self::HaproxyIptables
            | Self::NginxIptables
            | Self::EnvoyTlsIptables => Capture::Iptables,
        }
    }

    /// What is in the way of the bytes.
    pub(crate) fn proxy(self) -> Proxy {
        match self {
            Self::NoCapture | Self::Direct => Proxy::None,
            Self::RelayEbpf | Self::RelayIptables => Proxy::Ours,
            Self::EnvoyTcpIptables | Self::EnvoyTcpEbpf => Proxy::EnvoyTcp,
            Self::EnvoyHttpIptables | Self::EnvoyHttpEbpf => Proxy::EnvoyHttp,
            Self::HaproxyIptables => Proxy::Haproxy,
            Self::NginxIptables => Proxy::Nginx,
            Self::EnvoyTlsIptables => Proxy::EnvoyTls,
            Self::Tunnel => Proxy::Tunnel,
        }
    }

    /// How many proxies are in the way.
    pub(crate) fn hop(self) -> Hop {
        match self.proxy() {
            Proxy::None => Hop::None,
            Proxy::EnvoyTls | Proxy::Tunnel => Hop::BothEnds,
            _ => Hop::Relay,
        }
    }

    /// Whether the mode can carry a kind of work. At a fixed rate, which is half of what one hop can serve, two would have
    /// another task than one.
    pub(crate) fn can(self, work: Work) -> bool {
        match (self.proxy(), self.hop()) {
            (Proxy::EnvoyHttp, _) => work.is_http(),
            (_, Hop::BothEnds) => work != Work::HttpOpenLoop,
            _ => true,
        }
    }

    /// What our process in the client's pod is told, be it the sidecar or the capture for a foreign proxy; where there
    /// is none there is nobody to tell. What a tunnel needs besides is its [`way`](super::way)'s to say.
    pub(crate) fn configuration(self) -> Option<Value> {
        let (capture, verdict) = match (self.capture(), self.proxy()) {
            (Capture::Direct, _) => ("ebpf", "direct"),
            (Capture::Ebpf, _) => ("ebpf", "proxy"),
            (Capture::Iptables, Proxy::Ours) => ("iptables", "proxy"),
            (Capture::None | Capture::Iptables, _) => return None,
        };
        Some(json!({
            "capture": { "mode": capture },
            "outbound": { "rules": [{ verdict: "10.78.0.0/24" }] },
            "inbound": { "ports": "none" },
        }))
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_modes_are_called_alike() {
        let words: BTreeSet<&str> = Mode::ALL.map(Mode::word).into();
        let titles: BTreeSet<&str> = Mode::ALL.map(Mode::title).into();
        assert_eq!((words.len(), titles.len()), (Mode::ALL.len(), Mode::ALL.len()));
    }

    #[test]
    fn a_proxy_is_in_the_way_exactly_where_connections_are_steered() {
        for mode in Mode::ALL {
            let steered = matches!(mode.capture(), Capture::Ebpf | Capture::Iptables);
            assert_eq!(mode.proxy() != Proxy::None, steered, "{mode:?}");
        }
    }

    #[test]
    fn our_process_is_there_unless_everything_is_foreign() {
        let without = Mode::ALL.into_iter().filter(|mode| mode.configuration().is_none());
        let expected = [
            Mode::NoCapture,
            Mode::EnvoyTcpIptables,
            Mode::EnvoyHttpIptables,
            Mode::HaproxyIptables,
            Mode::NginxIptables,
            Mode::EnvoyTlsIptables,
        ];
        assert!(without.eq(expected));
        assert_eq!(Mode::EnvoyTcpEbpf.configuration(), Mode::RelayEbpf.configuration());
    }

    #[test]
    fn a_proxy_that_reads_http_is_not_given_anything_else() {
        assert!(!Mode::EnvoyHttpEbpf.can(Work::PingPong));
        assert!(Mode::EnvoyTcpEbpf.can(Work::PingPong) && Mode::NoCapture.can(Work::Request));
    }

    #[test]
    fn two_proxies_do_what_one_does_but_not_at_its_rate() {
        let cannot = |mode: Mode| Work::ALL.into_iter().filter(move |&work| !mode.can(work));
        for mode in Mode::ALL.into_iter().filter(|mode| mode.hop() == Hop::BothEnds) {
            assert!(cannot(mode).eq([Work::HttpOpenLoop]), "{mode:?}");
        }
    }
}
