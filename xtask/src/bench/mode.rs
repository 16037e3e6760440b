//! The ways a connection can take that are compared.

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::seating::Hop;
use super::work::Work;

/// How many requests in a hundred are traced, by whoever traces: what Istio's sidecar has by itself.
pub(crate) const TRACED_PERCENT: f64 = 1.0;

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
    /// Through a sidecar of ours that reads HTTP, with access log, traces and metrics; steered by eBPF.
    HttpEbpf,
    /// Through a sidecar of ours that does all of that on either side with a tunnel between the two, steered by eBPF.
    HttpTunnel,
    /// Through Envoy as a sidecar has it: HTTP with access log, traces and statistics; steered by iptables.
    EnvoyObservedIptables,
    /// Through HAProxy as an HTTP proxy with a log, steered by iptables.
    HaproxyHttpIptables,
    /// Through an Envoy that does all of that on either side, with mutual TLS between the two, steered by iptables.
    EnvoyObservedTlsIptables,
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
    /// Envoy, which reads them as HTTP/1.1 and says nothing of it.
    EnvoyHttp,
    /// HAProxy, which does not look at the bytes.
    Haproxy,
    /// nginx, which does not look at the bytes.
    Nginx,
    /// Two Envoys that do not look at the bytes, with mutual TLS between them.
    EnvoyTls,
    /// Our tunnel between two sidecars.
    Tunnel,
    /// Our sidecar, which reads them as HTTP, logs, counts and traces requests.
    OursHttp,
    /// Two sidecars of ours that do all that, with our tunnel between them.
    HttpTunnel,
    /// Envoy, which reads them as HTTP, logs, counts and traces requests.
    EnvoyObserved,
    /// HAProxy, which reads them as HTTP/1.1 and logs requests.
    HaproxyHttp,
    /// Two Envoys that do all that [`Self::EnvoyObserved`] does, with mutual TLS between them.
    EnvoyObservedTls,
}

/// What a proxy makes of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// Bytes.
    Bytes,
    /// HTTP/1.1 and nothing else.
    Http1,
    /// HTTP/1.1 and HTTP/2.
    Http,
}

impl Proxy {
    fn reads(self) -> Reads {
        match self {
            Self::EnvoyHttp | Self::HaproxyHttp => Reads::Http1,
            Self::OursHttp | Self::HttpTunnel | Self::EnvoyObserved | Self::EnvoyObservedTls => Reads::Http,
            _ => Reads::Bytes,
        }
    }
}

impl Mode {
    /// All of them, the reference first.
    pub(crate) const ALL: [Self; 17] = [
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
        Self::HttpEbpf,
        Self::EnvoyObservedIptables,
        Self::HaproxyHttpIptables,
        Self::EnvoyObservedTlsIptables,
        Self::HttpTunnel,
    ];

    /// What is encrypted on its way, and what that is compared with.
    pub(crate) const TUNNELS: [Self; 3] = [Self::NoCapture, Self::EnvoyTlsIptables, Self::Tunnel];

    /// What reads requests as a sidecar does, and what that is compared with.
    pub(crate) const HTTP: [Self; 6] = [
        Self::NoCapture,
        Self::HttpEbpf,
        Self::EnvoyObservedIptables,
        Self::HaproxyHttpIptables,
        Self::EnvoyObservedTlsIptables,
        Self::HttpTunnel,
    ];

    /// What tables call it, what names of things and fields call it, how connections come to the proxy, and what is in the
    /// way of the bytes.
    fn facts(self) -> (&'static str, &'static str, Capture, Proxy) {
        use Capture::{Ebpf, Iptables};
        match self {
            Self::NoCapture => ("no capture", "none", Capture::None, Proxy::None),
            Self::Direct => ("direct verdict", "direct", Capture::Direct, Proxy::None),
            Self::RelayEbpf => ("our relay, eBPF", "ebpf", Ebpf, Proxy::Ours),
            Self::RelayIptables => ("our relay, iptables", "iptables", Iptables, Proxy::Ours),
            Self::EnvoyTcpIptables => {
                ("Envoy TCP, iptables", "envoy-tcp-iptables", Iptables, Proxy::EnvoyTcp)
            }
            Self::EnvoyTcpEbpf => ("Envoy TCP, our eBPF", "envoy-tcp-ebpf", Ebpf, Proxy::EnvoyTcp),
            Self::EnvoyHttpIptables => {
                ("Envoy HTTP, iptables", "envoy-http-iptables", Iptables, Proxy::EnvoyHttp)
            }
            Self::EnvoyHttpEbpf => ("Envoy HTTP, our eBPF", "envoy-http-ebpf", Ebpf, Proxy::EnvoyHttp),
            Self::HaproxyIptables => ("HAProxy TCP, iptables", "haproxy-iptables", Iptables, Proxy::Haproxy),
            Self::NginxIptables => ("nginx stream, iptables", "nginx-iptables", Iptables, Proxy::Nginx),
            Self::EnvoyTlsIptables => {
                ("Envoy mTLS, both sides", "envoy-tls-iptables", Iptables, Proxy::EnvoyTls)
            }
            Self::Tunnel => ("our tunnel, both sides", "tunnel", Ebpf, Proxy::Tunnel),
            Self::HttpEbpf => ("our HTTP sidecar, eBPF", "http-ebpf", Ebpf, Proxy::OursHttp),
            Self::HttpTunnel => ("our HTTP tunnel, both sides", "http-tunnel", Ebpf, Proxy::HttpTunnel),
            Self::EnvoyObservedIptables => {
                ("Envoy HTTP sidecar, iptables", "envoy-observed", Iptables, Proxy::EnvoyObserved)
            }
            Self::HaproxyHttpIptables => {
                ("HAProxy HTTP, iptables", "haproxy-http", Iptables, Proxy::HaproxyHttp)
            }
            Self::EnvoyObservedTlsIptables => {
                ("Envoy HTTP mTLS, both sides", "envoy-observed-tls", Iptables, Proxy::EnvoyObservedTls)
            }
        }
    }

    /// What tables call it.
    pub(crate) fn title(self) -> &'static str {
        self.facts().0
    }

    /// What names of things and fields call it.
    pub(crate) fn word(self) -> &'static str {
        self.facts().1
    }

    /// How connections come to the proxy.
    pub(crate) fn capture(self) -> Capture {
        self.facts().2
    }

    /// What is in the way of the bytes.
    pub(crate) fn proxy(self) -> Proxy {
        self.facts().3
    }

    /// How many proxies are in the way.
    pub(crate) fn hop(self) -> Hop {
        match self.proxy() {
            Proxy::None => Hop::None,
            Proxy::EnvoyTls | Proxy::Tunnel | Proxy::EnvoyObservedTls | Proxy::HttpTunnel => Hop::BothEnds,
            _ => Hop::Relay,
        }
    }

    /// Whether proxies of ours read requests, log, count and trace them.
    pub(crate) fn observes(self) -> bool {
        matches!(self.proxy(), Proxy::OursHttp | Proxy::HttpTunnel)
    }

    /// Whether the mode can carry a kind of work. At a fixed rate, which is half of what one hop can serve, two would have
    /// another task than one. To whoever carries bytes alone, HTTP/2 is no other work than HTTP/1.1.
    pub(crate) fn can(self, work: Work) -> bool {
        let reads = match self.proxy().reads() {
            Reads::Bytes => self == Self::NoCapture || !work.is_http2(),
            Reads::Http1 => work.is_http() && !work.is_http2(),
            Reads::Http => work.is_http(),
        };
        reads && (self.hop() != Hop::BothEnds || work != Work::HttpOpenLoop)
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
        let mut sections = json!({
            "capture": { "mode": capture },
            "outbound": { "rules": [{ verdict: "10.78.0.0/24" }] },
            "inbound": { "ports": "none" },
        });
        if self.observes() {
            sections["http"] = json!({});
        }
        Some(sections)
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
            Mode::EnvoyObservedIptables,
            Mode::HaproxyHttpIptables,
            Mode::EnvoyObservedTlsIptables,
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
        for mode in Mode::ALL.into_iter().filter(|mode| mode.hop() == Hop::BothEnds) {
            let reads = mode.proxy().reads();
            let one_hop =
                Mode::ALL.into_iter().find(|it| it.hop() == Hop::Relay && it.proxy().reads() == reads);
            let can = |mode: Mode| Work::ALL.into_iter().filter(move |&work| mode.can(work));
            let expected = can(one_hop.unwrap()).filter(|&work| work != Work::HttpOpenLoop);
            assert!(can(mode).eq(expected), "{mode:?}");
        }
    }

    #[test]
    fn what_reads_http_2_is_compared_with_what_has_none_to_read() {
        let can = |work: Work| Mode::ALL.into_iter().filter(move |mode| mode.can(work));
        let expected = [
            Mode::NoCapture,
            Mode::HttpEbpf,
            Mode::EnvoyObservedIptables,
            Mode::EnvoyObservedTlsIptables,
            Mode::HttpTunnel,
        ];
        assert!(can(Work::Http2).eq(expected) && can(Work::Grpc).eq(expected));
    }
}
