//! Istio's `AuthorizationPolicy`: who may do what to a workload, decided for one connection or one request.
//!
//! Order: `DENY`, then `ALLOW`. Without an `ALLOW` policy that is meant for the workload everything is allowed that is not
//! denied; with one, only what a rule of one matches. `AUDIT` decides nothing and is told. Rules are alternatives, and so
//! are the values of a list; what stands side by side in a rule has to hold together; every list has a `not…` twin.
//! (`AuthorizationPolicy` and "Authorization Policy Conditions" in Istio's reference.)
//!
//! What speaks of HTTP can match no connection that is not HTTP: in an `ALLOW` rule it fails, in a `DENY` rule it is taken for
//! matched. Both ways something is refused that may have been meant to pass, and never the other way round.

mod decide;
mod denials;
mod index;
mod pattern;
mod rule;
mod rulebook;
mod seen;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::Subject;
use crate::model::{Decided, Identity};

use rulebook::{Group, Rulebook};
use seen::Seen;

pub use denials::PlainTextDenials;
pub use pattern::Pattern;
pub use template::{PathPattern, TemplateError, TemplatePart};

/// One `AuthorizationPolicy`, as far as it decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationPolicy {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.selector.matchLabels`; empty: every workload of the namespace, or of the mesh.
    pub selector: BTreeMap<String, String>,
    /// `spec.action`.
    pub action: Action,
    /// `spec.rules`; none: the policy matches nothing.
    pub rules: Vec<AuthorizationRule>,
    /// Annotation `istio.io/dry-run`: what it would do is told, and not done.
    pub dry_run: bool,
}

/// What a policy does to what it matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Action {
    /// Lets it in.
    #[default]
    Allow,
    /// Refuses it.
    Deny,
    /// Tells of it.
    Audit,
}

/// One rule: one of `from`, and one of `to`, and all of `when`. What is empty holds always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizationRule {
    /// Alternatives: whose call it is.
    pub from: Vec<Source>,
    /// Alternatives: what is called.
    pub to: Vec<Operation>,
    /// What has to hold besides.
    pub when: Vec<Condition>,
}

/// The two halves of a list: one of `any` (if there are any), and none of `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match<T> {
    /// The list.
    pub any: Vec<T>,
    /// Its `not…` twin.
    pub none: Vec<T>,
}

/// Who calls; every field has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Identities without `spiffe://`.
    pub principals: Match<Pattern>,
    /// Namespaces of identities.
    pub namespaces: Match<Pattern>,
    /// Service accounts of identities, `namespace/name`.
    pub service_accounts: Match<Pattern>,
    /// The address that the connection comes from.
    pub ip_blocks: Match<IpNet>,
    /// The address of the original client: the same one, since no header is believed.
    pub remote_ip_blocks: Match<IpNet>,
}

/// What is called; every field has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operation {
    /// Ports of the workload.
    pub ports: Match<u16>,
    /// Hosts that are asked for, without port and in any case.
    pub hosts: Match<Pattern>,
    /// Methods, in their own case.
    pub methods: Match<Pattern>,
    /// Paths without query, normalised.
    pub paths: Match<PathPattern>,
}

/// One entry of `when`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `source.ip`
    SourceIp(Match<IpNet>),
    /// `remote.ip`
    RemoteIp(Match<IpNet>),
    /// `source.namespace`
    SourceNamespace(Match<Pattern>),
    /// `source.principal`
    SourcePrincipal(Match<Pattern>),
    /// `source.serviceAccount`
    SourceServiceAccount(Match<Pattern>),
    /// `destination.ip`
    DestinationIp(Match<IpNet>),
    /// `destination.port`
    DestinationPort(Match<u16>),
    /// `request.headers[name]`: each value of a header by itself, never joined.
    Header(HeaderName, Match<Pattern>),
}

/// What policies call the trust domain of the mesh, whatever it is ("Trust Domain Migration" in Istio's documentation).
const ANY_DOMAIN: &str = "cluster.local";

impl AuthorizationPolicy {
    /// The same in a mesh of this trust domain.
    fn within(&self, trust_domain: &str) -> Self {
        let mut policy = self.clone();
        for rule in &mut policy.rules {
            let principals = rule.from.iter_mut().map(|source| &mut source.principals);
            let conditions = rule.when.iter_mut().filter_map(|condition| match condition {
                Condition::SourcePrincipal(principals) => Some(principals),
                _ => None,
            });
            for Match { any, none } in principals.chain(conditions) {
                for pattern in any.iter_mut().chain(none) {
                    pattern.replace_beginning(&format!("{ANY_DOMAIN}/"), &format!("{trust_domain}/"));
                }
            }
        }
        policy
    }
}

impl<T> Default for Match<T> {
    fn default() -> Self {
        Self { any: Vec::new(), none: Vec::new() }
    }
}

/// A connection or a request, as policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Who the caller proved to be; nobody in plain text.
    pub source: Option<&'a Identity>,
    /// The address that the connection comes from.
    pub client: IpAddr,
    /// The address and port of the workload that it is for.
    pub destination: SocketAddr,
    /// What it says.
    pub content: Content<'a>,
}

/// What a caller says.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// Nothing that we read.
    Opaque,
    /// This request.
    Http(Asked<'a>),
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a str,
    /// The host that it asks for, as it came; `None` if it names none.
    pub host: Option<&'a str>,
    /// Its path without query, normalised ([`crate::model::normalize`]).
    pub path: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
}

/// What the policies say of a connection before it has said anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// Whether it may happen is the same, whatever it will say. Where it may not, rules that look into requests are not heard
    /// any more: neither by name nor to tell what they would do.
    Decided(Decided),
    /// What it says decides, or is to be told (`AUDIT`, dry-run).
    ByContent,
}

/// The policies that are meant for one workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorization {
    book: Rulebook,
}

impl Authorization {
    /// Those of `policies` that are meant for `subject`.
    #[must_use]
    pub fn of(policies: &[AuthorizationPolicy], subject: Subject<'_>) -> Self {
        let meant = |policy: &&AuthorizationPolicy| subject.is_meant_by(&policy.namespace, &policy.selector);
        let meant = policies.iter().filter(meant);
        if subject.trust_domain == ANY_DOMAIN {
            return Self { book: Rulebook::new(&meant.collect::<Vec<_>>()) };
        }
        let ours: Vec<_> = meant.map(|policy| policy.within(subject.trust_domain)).collect();
        Self { book: Rulebook::new(&ours.iter().collect::<Vec<_>>()) }
    }

    /// Whether no policy is meant for the workload.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.book.is_empty()
    }

    /// Whether any of them speaks of requests, even if only to tell of them.
    #[must_use]
    pub fn reads_requests(&self) -> bool {
        self.book.reads_requests(|_| true)
    }

    /// Whether any of those that decide nothing (dry-run, `AUDIT`) speaks of requests.
    #[must_use]
    pub fn tells_of_requests(&self) -> bool {
        self.book.reads_requests(|group| !matches!(group, Group::Deny | Group::Allow))
    }

    /// What holds for a call.
    #[must_use]
    pub fn decide(&self, call: &Call<'_>) -> Decided {
        decide::decide(&self.book, call)
    }

    /// What is known of a connection before it has said anything.
    #[must_use]
    pub fn prospect(&self, source: Option<&Identity>, client: IpAddr, destination: SocketAddr) -> Prospect {
        let seen = Seen::connection(source, client, destination, self.book.reads_accounts());
        decide::prospect(&self.book, &seen)
    }

    /// Which connections in plain text are denied whatever they will say, by the caller's address and the port that is
    /// called: what the kernel can refuse alone. Nothing is said of the ports in `spared`.
    #[must_use]
    pub fn plain_text_denials(&self, spared: &[u16]) -> PlainTextDenials {
        denials::find(&self.book, spared)
    }
}

impl<T> Match<T> {
    /// Whether it holds always.
    pub(super) fn is_empty(&self) -> bool {
        self.any.is_empty() && self.none.is_empty()
    }
}
