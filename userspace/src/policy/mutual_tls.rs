//! Whether plain text may come in, port by port.
//!
//! Says nothing of tunnels, which are served in every mode, and nothing of who the peer of one is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::ports::{PortSet, PortSpan};
use super::probe::{Passes, Probe, Probed};

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

/// What becomes of a connection in plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlainText {
    /// It may come in, whatever it says.
    Admitted,
    /// It may come in as far as it is a probe.
    Probing(Arc<Probed>),
    /// It may not come in.
    Refused,
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

    /// The ports that plain text may come to as a probe.
    #[must_use]
    pub fn probed_ports(&self) -> Vec<u16> {
        self.probes.iter().map(|probe| probe.port).collect()
    }

    /// What `port` takes.
    #[must_use]
    pub fn mode(&self, port: u16) -> MutualTlsMode {
        self.ports.get(&port).copied().unwrap_or(self.mode)
    }

    /// What becomes of a connection in plain text from `client` to `port`.
    #[must_use]
    pub fn plain_text(&self, port: u16, client: IpAddr) -> PlainText {
        if self.mode(port) != MutualTlsMode::Strict || self.passes_everything(port, client) {
            return PlainText::Admitted;
        }
        self.probed(port, client).map_or(PlainText::Refused, PlainText::Probing)
    }

    /// What of `client` is a probe of `port`, whatever the port takes. Where everything passes nothing in particular is one.
    #[must_use]
    pub fn probed(&self, port: u16, client: IpAddr) -> Option<Arc<Probed>> {
        let mut all: Option<Probed> = None;
        for probe in self.probes_of(port, client) {
            if let Passes::Only(probed) = &probe.passes {
                all.get_or_insert_default().extend(probed);
            }
        }
        all.map(Arc::new)
    }

    fn passes_everything(&self, port: u16, client: IpAddr) -> bool {
        self.probes_of(port, client).any(|probe| probe.passes == Passes::Everything)
    }

    fn probes_of(&self, port: u16, client: IpAddr) -> impl Iterator<Item = &Probe> {
        let client = client.to_canonical();
        self.probes.iter().filter(move |probe| probe.is_for(port, client))
    }

    /// Whether plain text from anybody at all may come in to `port`: what can be known without the client's address.
    #[must_use]
    pub fn may_admit_plain_text(&self, port: u16) -> bool {
        self.mode(port) != MutualTlsMode::Strict || self.probes.iter().any(|probe| probe.port == port)
    }

    /// The ports that no plain text may come in to, whoever sends it: sorted spans that neither overlap nor touch.
    #[must_use]
    pub fn ports_without_plain_text(&self) -> Vec<PortSpan> {
        let apart = self.ports.keys().copied().chain(self.probed_ports());
        let (refuse, admit): (Vec<_>, Vec<_>) =
            apart.map(PortSpan::one).partition(|span| !self.may_admit_plain_text(span.first));
        let ports = match self.mode {
            MutualTlsMode::Strict => admit.into_iter().collect::<PortSet>().not(),
            MutualTlsMode::Permissive | MutualTlsMode::Disable => refuse.into_iter().collect(),
        };
        ports.spans().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict_but(port: u16, mode: MutualTlsMode) -> MutualTls {
        let from = vec!["10.0.0.0/8".parse().expect("a network")];
        let probe = Probe { port: 8080, from, passes: Passes::Everything };
        let modes =
            MutualTls { mode: MutualTlsMode::Strict, ports: [(port, mode)].into(), probes: Vec::new() };
        modes.with_probes(vec![probe])
    }

    #[test]
    fn only_a_strict_port_refuses_plain_text() {
        for mode in [MutualTlsMode::Permissive, MutualTlsMode::Disable] {
            let modes = strict_but(90, mode);
            let client = IpAddr::from([192, 0, 2, 1]);
            assert!(modes.plain_text(90, client) == PlainText::Admitted && modes.may_admit_plain_text(90));
            assert!(modes.plain_text(91, client) == PlainText::Refused && !modes.may_admit_plain_text(91));
        }
        let client = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(MutualTls::default().plain_text(1, client), PlainText::Admitted);
    }

    #[test]
    fn ports_without_plain_text_are_those_that_admit_none() {
        for mode in [MutualTlsMode::Strict, MutualTlsMode::Permissive, MutualTlsMode::Disable] {
            let default = MutualTls { mode, ..strict_but(90, MutualTlsMode::Strict) };
            for modes in [default, strict_but(90, mode), strict_but(8080, mode)] {
                let spans = modes.ports_without_plain_text();
                for port in [0, 1, 89, 90, 91, 8079, 8080, 8081, u16::MAX] {
                    let without = spans.iter().any(|span| span.contains(port));
                    assert_eq!(without, !modes.may_admit_plain_text(port), "{port} of {modes:?}");
                }
            }
        }
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
            assert_eq!(modes.plain_text(port, client) == PlainText::Admitted, admitted, "{client} to {port}");
        }
    }

    #[test]
    fn what_several_probes_let_pass_is_put_together() {
        let modes = |probes| strict_but(90, MutualTlsMode::Strict).with_probes(probes);
        let probe = |from: &str, path: Option<&str>| Probe {
            port: 8080,
            from: vec![from.parse().expect("a network")],
            passes: path.map_or(Passes::Everything, |path| {
                Passes::Only(Probed { http: [path.into()].into(), ..Probed::default() })
            }),
        };
        let of = |paths: &[&str]| {
            let http = paths.iter().map(|&path| path.into()).collect();
            PlainText::Probing(Arc::new(Probed { http, ..Probed::default() }))
        };
        let two = modes(vec![probe("10.0.0.0/8", Some("/a")), probe("10.1.0.0/16", Some("/b"))]);
        assert_eq!(two.plain_text(8080, IpAddr::from([10, 1, 0, 1])), of(&["/a", "/b"]));
        assert_eq!(two.plain_text(8080, IpAddr::from([10, 2, 0, 1])), of(&["/a"]));
        assert_eq!(two.plain_text(8080, IpAddr::from([11, 0, 0, 1])), PlainText::Refused);
        assert!(two.may_admit_plain_text(8080), "the kernel lets the probe's SYN pass");
        let all = modes(vec![probe("10.0.0.0/8", Some("/a")), probe("10.1.0.0/16", None)]);
        assert_eq!(all.plain_text(8080, IpAddr::from([10, 1, 0, 1])), PlainText::Admitted);
    }
}
