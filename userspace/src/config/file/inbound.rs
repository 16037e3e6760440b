//! `inbound:`: which ports are captured, and whose plain text is let through.

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::config::InboundPorts;
use crate::config::value::{Network, OneOrMany, Port, PortsWord, Value};
use crate::config::yaml::section;
use crate::policy::{PortSpan, Probe};

section!(pub(super) Inbound {
    ports: OneOrMany<PortsWord, PortSpan>,
    exclude: OneOrMany<PortSpan>,
    probes: Vec<WrittenProbe>,
});

/// One entry of `inbound.probes`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a probe such as { port: 8080, from: [10.0.0.0/8] }")]
pub(super) struct WrittenProbe {
    port: Value<Port>,
    from: OneOrMany<Network>,
}

impl Inbound {
    /// The ports and the probes.
    pub(super) fn settings(self) -> (InboundPorts, Vec<Probe>) {
        let spans = |list: Vec<Spanned<Value<PortSpan>>>| list.into_iter().map(|item| item.value.0);
        let captured = match self.ports {
            None | Some(OneOrMany::One(PortsWord::All)) => InboundPorts::all(),
            Some(OneOrMany::One(PortsWord::None)) => InboundPorts::none(),
            Some(OneOrMany::One(PortsWord::Span(span))) => std::iter::once(span).collect(),
            Some(OneOrMany::Many(list)) => spans(list).collect(),
        };
        let captured = match self.exclude {
            None => captured,
            Some(OneOrMany::One(span)) => captured.without_span(span),
            Some(OneOrMany::Many(list)) => spans(list).fold(captured, InboundPorts::without_span),
        };
        let probes = self.probes.unwrap_or_default().into_iter().map(|probe| Probe {
            port: probe.port.0.0,
            from: probe.from.into_values().map(|Network(net)| net).collect(),
        });
        (captured, probes.collect())
    }
}
