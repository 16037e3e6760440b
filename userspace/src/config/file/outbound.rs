//! `outbound:`: rules as they are written, each with its place.
//!
//! A name stands for the addresses that the directory of the same file has for it, once and for all: what is decided in the
//! kernel is about addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use sidestep_abi::verdict::Verdict;

use super::or;
use crate::config::value::{OneOrMany, Value, WrittenTarget};
use crate::config::yaml::{Part, place, section};
use crate::config::{ConfigError, OutboundSettings, Unknown};
use crate::model::{Directory, Service};
use crate::policy::{DenyWith, PolicyError, PortSpan, Rule, Rules, Target};

section!(pub(super) Outbound {
    default: Value<Verdict>,
    deny_with: Value<DenyWith>,
    unknown: Value<Unknown>,
    rules: Vec<WrittenRule>,
});

/// One entry of `outbound.rules`: a verdict and what it is for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", expecting = "a rule such as `deny: 10.0.0.0/8:5432`")]
pub(super) enum WrittenRule {
    Proxy(Spanned<OneOrMany<WrittenTarget>>),
    Direct(Spanned<OneOrMany<WrittenTarget>>),
    Deny(Spanned<OneOrMany<WrittenTarget>>),
}

const LIST: &str = "outbound.rules";

/// Where a rule was written.
#[derive(Clone, Copy)]
struct Origin {
    location: Location,
    entry: usize,
    /// Where in the entry's list, if it has one.
    item: Option<usize>,
}

impl Origin {
    /// What the rule is called in messages.
    fn field(self, verdict: Verdict) -> String {
        let item = self.item.map_or_else(String::new, |item| format!("[{item}]"));
        format!("{LIST}[{}].{}{item}", self.entry, verdict.word())
    }
}

/// The addresses and ports that a target stands for.
///
/// A service is its virtual addresses, and of their ports the declared ones; none of the others may be used either, where it is
/// denied. A workload is its addresses.
fn meant(written: WrittenTarget, verdict: Verdict, directory: &Directory) -> Result<Vec<Target>, String> {
    let at = |address, ports| Target { net: IpNet::from(address), ports };
    match written {
        WrittenTarget::Addresses(target) => Ok(vec![target]),
        WrittenTarget::Service { hostname, ports } => {
            let service = directory.service_named(&hostname).ok().flatten();
            let service = service.filter(|service| service.hostname == hostname).ok_or_else(|| {
                format!("expected a service of the section services, found {hostname:?}, which is none")
            })?;
            let spans = match (ports, verdict) {
                (None, Verdict::Deny) => vec![PortSpan::ALL],
                (ports, _) => declared(service, ports)?,
            };
            let pairs =
                service.addresses.iter().flat_map(|&address| spans.iter().map(move |&span| (address, span)));
            Ok(pairs.map(|(address, span)| at(address, span)).collect())
        }
        WrittenTarget::Workload { namespace, name, ports } => {
            let named = directory
                .workloads()
                .filter(|(_, workload)| workload.name == name && workload.identity.namespace() == namespace);
            let mut addresses: Vec<IpAddr> = named.map(|(address, _)| address).collect();
            addresses.sort_unstable();
            if addresses.is_empty() {
                return Err(format!(
                    "expected a workload of the section workloads, found {namespace}/{name}, which is none"
                ));
            }
            Ok(addresses.into_iter().map(|address| at(address, ports.unwrap_or(PortSpan::ALL))).collect())
        }
    }
}

/// The ports of a service, those of a span if one is given.
fn declared(service: &Service, ports: Option<PortSpan>) -> Result<Vec<PortSpan>, String> {
    let of_span = |port: u16| ports.is_none_or(|span| span.contains(port));
    let declared: Vec<PortSpan> =
        service.ports.iter().map(|port| port.port).filter(|&port| of_span(port)).map(PortSpan::one).collect();
    if declared.is_empty() {
        let wanted = ports.map_or_else(|| "any".to_owned(), |span| span.to_string());
        return Err(format!("expected a port of the service {}, found none of {wanted}", service.hostname));
    }
    Ok(declared)
}

impl Outbound {
    /// The settings, if their rules fit together.
    pub(super) fn settings(
        self,
        directory: &Directory,
        part: Part<'_>,
    ) -> Result<OutboundSettings, ConfigError> {
        let defaults = OutboundSettings::default();
        let mut rules = Rules { default: or(self.default, defaults.rules.default), list: Vec::new() };
        let mut origins = Vec::new();
        for (entry, written) in self.rules.unwrap_or_default().into_iter().enumerate() {
            let (verdict, targets) = match written {
                WrittenRule::Proxy(targets) => (Verdict::Proxy, targets),
                WrittenRule::Direct(targets) => (Verdict::Direct, targets),
                WrittenRule::Deny(targets) => (Verdict::Deny, targets),
            };
            let mut add = |written, origin: Origin| {
                let meant = meant(written, verdict, directory)
                    .map_err(|message| part.invalid(origin.location, origin.field(verdict), message))?;
                origins.extend(meant.iter().map(|_| origin));
                rules.list.extend(meant.into_iter().map(|target| Rule { verdict, target }));
                Ok::<(), ConfigError>(())
            };
            match targets.value {
                OneOrMany::One(target) => {
                    add(target, Origin { location: targets.referenced, entry, item: None })?;
                }
                OneOrMany::Many(list) => {
                    for (item, Spanned { value: Value(target), referenced, .. }) in
                        list.into_iter().enumerate()
                    {
                        add(target, Origin { location: referenced, entry, item: Some(item) })?;
                    }
                }
            }
        }
        rules.compile().map_err(|error| bad_rules(part, &error, &rules, &origins))?;
        Ok(OutboundSettings {
            rules,
            deny_with: or(self.deny_with, defaults.deny_with),
            unknown: or(self.unknown, defaults.unknown),
        })
    }
}

/// Points at the rule that an error is about; of two rules at the one that came later.
fn bad_rules(part: Part<'_>, error: &PolicyError, rules: &Rules, origins: &[Origin]) -> ConfigError {
    let (at, other) = match error {
        PolicyError::Conflict { at: [earlier, later], .. } => (Some(*later), Some(*earlier)),
        PolicyError::TooManyPortRanges { at, .. } => (Some(*at), None),
        PolicyError::TooManyPrefixes { .. } | PolicyError::TooManyPortTables { .. } => (None, None),
    };
    let mut message = error.to_string();
    if let Some(line) = other.and_then(|other| place(origins[other].location)).map(|place| place.line) {
        message.push_str(&format!(" (the other is in line {line})"));
    }
    let field = at.map_or_else(|| LIST.to_owned(), |at| origins[at].field(rules.list[at].verdict));
    part.invalid(at.map_or(Location::UNKNOWN, |at| origins[at].location), field, message)
}
