//! Which routes may lead to the services of another namespace: the Gateway API's `ReferenceGrant`, as far as it is about
//! HTTPRoutes and Services.

use std::collections::BTreeSet;

use super::{Backing, HttpRoute, ServiceName};

/// One resource. It stands in the namespace whose services it is about, and so is written by whoever they belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceGrant {
    /// `metadata.namespace`.
    pub namespace: String,
    /// The namespaces whose routes may lead there.
    pub from: BTreeSet<String>,
    /// The services that they may lead to.
    pub to: Granted,
}

/// Some services of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// All of them.
    All,
    /// Those of these names.
    Named(BTreeSet<String>),
}

impl ReferenceGrant {
    /// Whether routes of the namespace `from` may lead to a service.
    fn admits(&self, from: &str, service: &ServiceName) -> bool {
        self.namespace == service.namespace()
            && self.from.contains(from)
            && match &self.to {
                Granted::All => true,
                Granted::Named(names) => names.contains(service.name()),
            }
    }
}

impl HttpRoute {
    /// The services of other namespaces that it leads to and none of these grants lets it lead to.
    pub fn not_granted<'a>(&'a self, grants: &'a [ReferenceGrant]) -> impl Iterator<Item = &'a ServiceName> {
        let foreign = self.backings().filter_map(|backing| match backing {
            Backing::Service(to) if to.service.namespace() != self.namespace => Some(&to.service),
            Backing::Service(_) | Backing::Invalid(_) => None,
        });
        foreign.filter(|service| !grants.iter().any(|grant| grant.admits(&self.namespace, service)))
    }

    /// The same route held to these grants: what it may not lead to is no backend (`RefNotPermitted`).
    #[must_use]
    pub fn held_to(mut self, grants: &[ReferenceGrant]) -> Self {
        let refused: BTreeSet<ServiceName> = self.not_granted(grants).cloned().collect();
        if refused.is_empty() {
            return self;
        }
        for backing in self.backings_mut() {
            if let Backing::Service(to) = backing
                && refused.contains(&to.service)
            {
                let namespace = to.service.namespace();
                let why =
                    format!("no ReferenceGrant of the namespace {namespace} lets this route lead to {to}");
                *backing = Backing::Invalid(why);
            }
        }
        self
    }

    /// Everything that requests, or copies of them, are sent to.
    fn backings(&self) -> impl Iterator<Item = &Backing> {
        self.rules.iter().flat_map(|rule| {
            let filters = std::iter::once(&rule.filters).chain(rule.backends.iter().map(|to| &to.filters));
            let mirrors = filters.flat_map(|filters| &filters.mirrors).map(|mirror| &mirror.to);
            rule.backends.iter().map(|backend| &backend.to).chain(mirrors)
        })
    }

    fn backings_mut(&mut self) -> impl Iterator<Item = &mut Backing> {
        self.rules.iter_mut().flat_map(|rule| {
            let mirrors = rule.filters.mirrors.iter_mut().map(|mirror| &mut mirror.to);
            let backends = rule.backends.iter_mut().flat_map(|backend| {
                let mirrors = backend.filters.mirrors.iter_mut().map(|mirror| &mut mirror.to);
                std::iter::once(&mut backend.to).chain(mirrors)
            });
            mirrors.chain(backends)
        })
    }
}
