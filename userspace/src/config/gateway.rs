//! The Gateway API's `HTTPRoute`, as it is written for Kubernetes: whom it is for, and its rules.
//!
//! A field that is not known is an error, as is everything that the API itself does not admit and everything that cannot be
//! done here: a route that is taken for less than it says is worse than none. What a route means is known by
//! [`crate::routing`].

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

use super::object::Object;
use super::value::{Port, Value};
use super::yaml::Part;
use super::{Choice, ConfigError};
use crate::routing::{
    Backend, Backing, HostPattern, HttpRoute, Match, Parent, Rule, ServiceName, ServiceRef,
};

mod filter;
mod grant;
mod matching;
#[cfg(test)]
mod tests;
mod timing;
mod value;

use filter::WrittenFilter;
pub(super) use grant::WrittenGrant;
use matching::WrittenMatch;
use timing::{WrittenRetry, WrittenTimeouts};
pub(super) use value::Label;
use value::Weight;

/// One document.
pub(super) type WrittenRoute = Object<ApiVersion, Spec>;

/// The one group of resources; its versions are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ApiVersion;

impl Choice for ApiVersion {
    const WORDS: &'static [(&'static str, Self)] =
        &[("gateway.networking.k8s.io/v1", Self), ("gateway.networking.k8s.io/v1beta1", Self)];
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "the specification of an HTTPRoute")]
pub(super) struct Spec {
    parent_refs: Option<Vec<Spanned<WrittenParent>>>,
    hostnames: Option<Vec<Value<HostPattern>>>,
    rules: Option<Vec<WrittenRule>>,
}

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "a reference such as { group: \"\", kind: Service, name: web, port: 80 }"
)]
struct WrittenParent {
    group: Option<Value<String>>,
    kind: Option<Value<String>>,
    namespace: Option<Value<Label>>,
    name: Value<Label>,
    section_name: Option<IgnoredAny>,
    port: Option<Value<Port>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "a rule with matches, filters and backendRefs"
)]
struct WrittenRule {
    #[serde(rename = "name")]
    _name: Option<Value<String>>,
    matches: Option<Vec<Spanned<WrittenMatch>>>,
    filters: Option<Vec<Spanned<WrittenFilter>>>,
    backend_refs: Option<Vec<Spanned<WrittenBackend>>>,
    timeouts: Option<Spanned<WrittenTimeouts>>,
    retry: Option<WrittenRetry>,
}

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "a backend such as { name: web, port: 80, weight: 1 }"
)]
struct WrittenBackend {
    group: Option<Value<String>>,
    kind: Option<Value<String>>,
    namespace: Option<Value<Label>>,
    name: Value<String>,
    port: Option<Value<Port>>,
    weight: Option<Value<Weight>>,
    filters: Option<Vec<Spanned<WrittenFilter>>>,
}

/// What messages need to say where something stands, and whose namespace is meant where none is written.
#[derive(Clone, Copy)]
struct Context<'a> {
    part: Part<'a>,
    namespace: &'a str,
}

impl Context<'_> {
    fn invalid<T>(
        self,
        at: &Spanned<T>,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> ConfigError {
        self.part.invalid(at.referenced, field, message)
    }
}

impl WrittenRoute {
    /// The route, if it is for services at all.
    pub(super) fn route(self, part: Part<'_>) -> Result<HttpRoute, ConfigError> {
        let metadata = self.metadata.value;
        let created = metadata.created();
        let (namespace, name) = (metadata.namespace.0, metadata.name.0);
        let context = Context { part, namespace: &namespace };
        let rules = self.spec.rules.unwrap_or_else(|| vec![WrittenRule::default()]);
        let rules = rules.into_iter().enumerate().map(|(index, rule)| rule.rule(index, context));
        let rules = rules.collect::<Result<_, _>>()?;
        Ok(HttpRoute {
            parents: parents(self.spec.parent_refs.unwrap_or_default(), context)?,
            created,
            hostnames: self.spec.hostnames.unwrap_or_default().into_iter().map(|Value(host)| host).collect(),
            rules,
            namespace,
            name,
        })
    }
}

/// The services among the parents. Gateways are somebody else's.
fn parents(written: Vec<Spanned<WrittenParent>>, context: Context<'_>) -> Result<Vec<Parent>, ConfigError> {
    let mut parents = Vec::new();
    for (index, parent) in written.into_iter().enumerate() {
        let field = |name: &str| format!("spec.parentRefs[{index}].{name}");
        let written = &parent.value;
        let kind = written.kind.as_ref().map_or("Gateway", |Value(kind)| kind);
        if kind == "Gateway" {
            continue;
        }
        if kind != "Service" || !is_core(written.group.as_ref()) {
            let message =
                format!("expected kind Service and group \"\", found {kind:?}; nothing else can be a parent");
            return Err(context.invalid(&parent, field("kind"), message));
        }
        if written.section_name.is_some() {
            let message = "expected port instead, since names of ports are not known here, found sectionName";
            return Err(context.invalid(&parent, field("sectionName"), message));
        }
        let namespace = written.namespace.as_ref().map_or(context.namespace, |Value(Label(name))| name);
        parents.push(Parent {
            service: ServiceName::new(&written.name.0.0, namespace),
            port: written.port.as_ref().map(|Value(Port(port))| *port),
        });
    }
    if parents.is_empty() {
        let message = "expected at least one parent of kind Service and group \"\", found none";
        return Err(context.part.invalid(serde_saphyr::Location::UNKNOWN, "spec.parentRefs", message));
    }
    Ok(parents)
}

/// Whether a group is that of services; only for backends is that what is meant when nothing is written.
fn is_core(group: Option<&Value<String>>) -> bool {
    matches!(group, Some(Value(group)) if group.is_empty() || group == "core")
}

impl WrittenRule {
    fn rule(self, index: usize, context: Context<'_>) -> Result<Rule, ConfigError> {
        let at = format!("spec.rules[{index}]");
        let written = self.matches.unwrap_or_default().into_iter().enumerate();
        let matches = written.map(|(number, matching)| {
            WrittenMatch::matching(matching, &format!("{at}.matches[{number}]"), context)
        });
        let mut matches: Vec<Match> = matches.collect::<Result<_, _>>()?;
        if matches.is_empty() {
            matches.push(Match::default());
        }
        let first_backend = self.backend_refs.as_ref().and_then(|backends| backends.first());
        let first_backend = first_backend.map(|backend| backend.referenced);
        let written = self.filters.unwrap_or_default();
        let filters = filter::filters(written, &at, &matches, context)?;
        if let (Some(_), Some(place)) = (&filters.redirect, first_backend) {
            let message = "expected none beside a RequestRedirect, which sends nothing there, found some";
            return Err(context.part.invalid(place, format!("{at}.backendRefs"), message));
        }
        let written = self.backend_refs.unwrap_or_default().into_iter().enumerate();
        let backends = written.map(|(number, backend)| {
            WrittenBackend::backend(backend, &format!("{at}.backendRefs[{number}]"), &matches, context)
        });
        let backends = backends.collect::<Result<_, _>>()?;
        let timeouts = WrittenTimeouts::timeouts(self.timeouts, &at, context)?;
        Ok(Rule { filters, backends, timeouts, retry: self.retry.map(WrittenRetry::retry), matches })
    }
}

impl WrittenBackend {
    fn backend(
        written: Spanned<Self>,
        at: &str,
        matches: &[Match],
        context: Context<'_>,
    ) -> Result<Backend, ConfigError> {
        let to = written.value.backing(&written, at, context)?;
        let Self { weight, filters, .. } = written.value;
        let place = filters.as_ref().and_then(|filters| filters.first()).map(|first| first.referenced);
        let filters = filter::filters(filters.unwrap_or_default(), at, matches, context)?;
        if let (Some(_), Some(place)) = (&filters.redirect, place) {
            let message = "expected no RequestRedirect at a backend, found one; write it at the rule";
            return Err(context.part.invalid(place, format!("{at}.filters"), message));
        }
        Ok(Backend { to, weight: weight.map_or(1, |Value(Weight(weight))| weight), filters })
    }

    /// What it refers to. What is no service cannot be reached, which is no error of the resource but of its requests.
    fn backing(&self, whole: &Spanned<Self>, at: &str, context: Context<'_>) -> Result<Backing, ConfigError> {
        let kind = self.kind.as_ref().map_or("Service", |Value(kind)| kind);
        let Value(name) = &self.name;
        if kind != "Service" || (self.group.is_some() && !is_core(self.group.as_ref())) {
            return Ok(Backing::Invalid(format!("{kind} {name} is no Service")));
        }
        let Some(Value(Port(port))) = self.port else {
            let message = "expected the port of the service, found none";
            return Err(context.invalid(whole, format!("{at}.port"), message));
        };
        if <Label as super::value::Scalar>::read(name).is_err() {
            return Ok(Backing::Invalid(format!("no Service is called {name:?}")));
        }
        let namespace = self.namespace.as_ref().map_or(context.namespace, |Value(Label(name))| name);
        Ok(Backing::Service(ServiceRef { service: ServiceName::new(name, namespace), port }))
    }
}
