//! Whether plain text may come in, port by port.
//!
//! Says nothing of tunnels, which are served in every mode, and nothing of who the peer of one is.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// What a port takes (Istio's `PeerAuthentication.MutualTLS.Mode`, without `UNSET`, which is inherited away).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MutualTlsMode {
    /// Tunnels only.
    Strict,
    /// Tunnels and plain text.
    #[default]
    Permissive,
    /// Plain text; tunnels are served nevertheless, as Istio's ztunnel does.
    Disable,
}

/// Plain text that is let through whatever the mode: health probes come from a kubelet, which has no identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The probed port.
    pub port: u16,
    /// Where the probes come from.
    pub from: Vec<IpNet>,
}

/// What each port of one workload takes. The default one takes everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MutualTls {
    pub(super) mode: MutualTlsMode,
    /// Ports that differ from `mode`, or were said not to.
    pub(super) ports: BTreeMap<u16, MutualTlsMode>,
    pub(super) probes: Vec<Probe>,
}

impl MutualTls {
    /// The same modes, with plain text let through for these probes.
    #[must_use]
    pub fn with_probes(self, probes: Vec<Probe>) -> Self {
        Self { probes, ..self }
    }

    /// What `port` takes.
    #[must_use]
    pub fn mode(&self, port: u16) -> MutualTlsMode {
        self.ports.get(&port).copied().unwrap_or(self.mode)
    }

    /// Whether a connection in plain text from `client` to `port` may come in.
    #[must_use]
    pub fn admits_plain_text(&self, port: u16, client: IpAddr) -> bool {
        let client = client.to_canonical();
        let probes = |probe: &Probe| probe.port == port && probe.from.iter().any(|net| net.contains(&client));
        self.mode(port) != MutualTlsMode::Strict || self.probes.iter().any(probes)
    }

    /// Whether plain text from anybody at all may come in to `port`: what can be known without the client's address.
    #[must_use]
    pub fn may_admit_plain_text(&self, port: u16) -> bool {
        self.mode(port) != MutualTlsMode::Strict || self.probes.iter().any(|probe| probe.port == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict_but(port: u16, mode: MutualTlsMode) -> MutualTls {
        let probe = Probe { port: 8080, from: vec!["10.0.0.0/8".parse().expect("a network")] };
        let modes =
            MutualTls { mode: MutualTlsMode::Strict, ports: [(port, mode)].into(), probes: Vec::new() };
        modes.with_probes(vec![probe])
    }

    #[test]
    fn only_a_strict_port_refuses_plain_text() {
        for mode in [MutualTlsMode::Permissive, MutualTlsMode::Disable] {
            let modes = strict_but(90, mode);
            let client = IpAddr::from([192, 0, 2, 1]);
            assert!(modes.admits_plain_text(90, client) && modes.may_admit_plain_text(90));
            assert!(!modes.admits_plain_text(91, client) && !modes.may_admit_plain_text(91));
        }
        assert!(MutualTls::default().admits_plain_text(1, IpAddr::from([192, 0, 2, 1])));
    }

    #[test]
    fn a_probe_is_let_through_to_its_port_from_its_networks_only() {
        let modes = strict_but(90, MutualTlsMode::Disable);
        assert!(modes.may_admit_plain_text(8080));
        for (port, client, admitted) in [
            (8080, "10.1.2.3", true),
            (8080, "::ffff:10.1.2.3", true),
            (8080, "11.0.0.1", false),
            (8080, "fd00::1", false),
            (8081, "10.1.2.3", false),
        ] {
            let client = client.parse().expect("an address");
            assert_eq!(modes.admits_plain_text(port, client), admitted, "{client} to {port}");
        }
    }
}
