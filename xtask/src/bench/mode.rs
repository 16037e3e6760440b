//! The ways a connection can take that are compared.

use serde_json::{Value, json};

/// One way from client to server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// No sidestep anywhere.
    NoCapture,
    /// eBPF attached; its verdict for the server is `direct`.
    Direct,
    /// Through our relay, steered by eBPF.
    RelayEbpf,
    /// Through our relay, steered by iptables.
    RelayIptables,
}

impl Mode {
    /// All of them, the reference first.
    pub(crate) const ALL: [Self; 4] = [Self::NoCapture, Self::Direct, Self::RelayEbpf, Self::RelayIptables];

    /// What tables call it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::NoCapture => "no capture",
            Self::Direct => "direct verdict",
            Self::RelayEbpf => "our relay, eBPF",
            Self::RelayIptables => "our relay, iptables",
        }
    }

    /// What names of things and fields call it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::NoCapture => "none",
            Self::Direct => "direct",
            Self::RelayEbpf => "ebpf",
            Self::RelayIptables => "iptables",
        }
    }

    /// What the sidecar in the client's pod is told; without one there is nobody to tell. The server's pod has no
    /// sidecar: one hop is what is measured.
    pub(crate) fn configuration(self) -> Option<Value> {
        let (capture, verdict) = match self {
            Self::NoCapture => return None,
            Self::Direct => ("ebpf", "direct"),
            Self::RelayEbpf => ("ebpf", "proxy"),
            Self::RelayIptables => ("iptables", "proxy"),
        };
        Some(json!({
            "capture": { "mode": capture },
            "outbound": { "rules": [{ verdict: "10.78.0.0/24" }] },
            "inbound": { "ports": "none" },
        }))
    }
}
