//! `inbound:`: which ports are captured, and whose plain text is let through.

use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::config::value::{Network, OneOrMany, Port, PortsWord, ProbePath, Value};
use crate::config::yaml::{Part, section};
use crate::config::{ConfigError, InboundPorts};
use crate::policy::{Passes, PortSpan, Probe, Probed};

section!(pub(super) Inbound {
    ports: OneOrMany<PortsWord, PortSpan>,
    exclude: OneOrMany<PortSpan>,
    probes: Vec<Spanned<WrittenProbe>>,
});

/// One entry of `inbound.probes`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a probe such as { port: 8080, http: /healthz }")]
pub(super) struct WrittenProbe {
    port: Value<Port>,
    from: Option<OneOrMany<Network>>,
    http: Option<OneOrMany<ProbePath>>,
    grpc: Option<OneOrMany<String>>,
    tcp: Option<bool>,
}

impl Inbound {
    /// The ports and the probes.
    pub(super) fn settings(self, part: Part<'_>) -> Result<(InboundPorts, Vec<Probe>), ConfigError> {
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
        let probes = self.probes.unwrap_or_default().into_iter().enumerate().map(|(index, written)| {
            written.value.probe().map_err(|message| {
                part.invalid(written.referenced, format!("inbound.probes[{index}]"), message)
            })
        });
        Ok((captured, probes.collect::<Result<_, _>>()?))
    }
}

impl WrittenProbe {
    fn probe(self) -> Result<Probe, &'static str> {
        let words =
            |http: Option<OneOrMany<ProbePath>>| http.map(OneOrMany::into_values).into_iter().flatten();
        let http: BTreeSet<Box<str>> = words(self.http).map(|ProbePath(path)| path.into()).collect();
        let grpc: BTreeSet<Box<str>> =
            self.grpc.map(OneOrMany::into_values).into_iter().flatten().map(Into::into).collect();
        let said = !http.is_empty() || !grpc.is_empty() || self.tcp == Some(true);
        let passes = if said { Passes::Only(Probed { http, grpc }) } else { Passes::Everything };
        let from = match self.from {
            Some(from) => from.into_values().map(|Network(net)| net).collect(),
            None if said => vec![IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())],
            None => {
                return Err(
                    "expected the field \"from\", or what the probe is (http, grpc or tcp), since all plain text would \
                            pass from everywhere, found none",
                );
            }
        };
        Ok(Probe { port: self.port.0.0, from, passes })
    }
}
