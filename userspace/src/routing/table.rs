//! The rules of all resources by the service that they are for, and which of them a request meets.
//!
//! A snapshot: replaced as a whole, never changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{HostPattern, HttpRoute, Match, PathMatch, RequestView, Rule, ServiceRef, service_key};
use crate::model::{Directory, Service, ServicePort};

/// All rules, and the services that they lead to.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// By [`super::ServiceName::key`].
    tables: HashMap<String, Tables>,
    services: HashMap<String, Arc<Service>>,
}

/// The rules of one service.
#[derive(Clone, Debug)]
struct Tables {
    /// For ports that no route names.
    any: Option<Arc<Table>>,
    ports: HashMap<u16, Arc<Table>>,
}

/// The rules that requests to one port of a service may meet.
#[derive(Debug)]
pub struct Table {
    /// The foremost first.
    entries: Vec<Entry>,
    /// Whether an entry is for certain hosts only.
    by_host: bool,
}

/// One way to meet a rule.
#[derive(Clone, Debug)]
struct Entry {
    matching: Match,
    hosts: Arc<[HostPattern]>,
    rule: Arc<Rule>,
    label: Arc<str>,
}

/// What a request has met.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'a> {
    /// The rule.
    pub rule: &'a Arc<Rule>,
    /// What it is called: `namespace/name/rule`, rules counted from 0.
    pub label: &'a Arc<str>,
    /// The prefix of the path by which it was met, without a slash at its end; empty if it was met by something else.
    pub prefix: &'a str,
}

impl Routes {
    /// Puts resources in the order in which they count.
    ///
    /// A route in its service's own namespace is for everybody. One in another namespace is for the workloads of that
    /// namespace alone, and for them it stands in place of those in the service's (GAMMA's producer and consumer routes,
    /// GEP-1294). `own_namespace` is whose workload we are, if that is known.
    #[must_use]
    pub fn new(resources: &[HttpRoute], directory: &Directory, own_namespace: Option<&str>) -> Self {
        let mut oldest: Vec<&HttpRoute> = resources.iter().collect();
        oldest.sort_by_key(|route| (route.created, &route.namespace, &route.name));
        let mut parents: BTreeMap<&str, Vec<Attached<'_>>> = BTreeMap::new();
        for route in oldest {
            for parent in &route.parents {
                let origin = match parent.service.namespace() == route.namespace {
                    true => Origin::Producer,
                    false if own_namespace == Some(route.namespace.as_str()) => Origin::Consumer,
                    false => continue,
                };
                parents.entry(parent.service.key()).or_default().push((parent.port, origin, route));
            }
        }
        let tables = parents.into_iter().map(|(service, routes)| (service.to_owned(), Tables::new(&routes)));
        let services = directory
            .services()
            .filter_map(|service| Some((service_key(&service.hostname)?.to_owned(), Arc::clone(service))));
        Self { tables: tables.collect(), services: services.collect() }
    }

    /// The rules for requests to that port of a service; none if no route is for it, and requests go where they went.
    #[must_use]
    pub fn find(&self, hostname: &str, port: u16) -> Option<&Arc<Table>> {
        // Most workloads have no routes at all.
        if self.tables.is_empty() {
            return None;
        }
        let tables = self.tables.get(service_key(hostname)?)?;
        tables.ports.get(&port).or(tables.any.as_ref())
    }

    /// The service and the port that a backend refers to, if the directory has both.
    #[must_use]
    pub fn resolve(&self, backend: &ServiceRef) -> Option<(&Arc<Service>, ServicePort)> {
        let service = self.services.get(backend.service.key())?;
        let port = service.ports.iter().find(|port| port.port == backend.port)?;
        Some((service, *port))
    }
}

/// A route, the port of the service that it is for, and whose wish it is.
type Attached<'a> = (Option<u16>, Origin, &'a HttpRoute);

/// Whose wish a route is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// That of whoever offers the service.
    Producer,
    /// That of whoever calls it.
    Consumer,
}

impl Tables {
    fn new(routes: &[Attached<'_>]) -> Self {
        let table = |wanted: Option<u16>| {
            let meant = routes.iter().filter(|(port, ..)| port.is_none() || *port == wanted);
            let meant: Vec<_> = meant.map(|(_, origin, route)| (*origin, *route)).collect();
            let consumers = meant.iter().any(|(origin, _)| *origin == Origin::Consumer);
            let deciding = if consumers { Origin::Consumer } else { Origin::Producer };
            let meant = meant.into_iter().filter(|(origin, _)| *origin == deciding).map(|(_, route)| route);
            Table::new(meant)
        };
        let ports: BTreeSet<u16> = routes.iter().filter_map(|(port, ..)| *port).collect();
        Self {
            any: table(None),
            ports: ports.into_iter().filter_map(|port| Some((port, table(Some(port))?))).collect(),
        }
    }
}

impl Table {
    /// The table of routes that stand in the order of their age.
    fn new<'a>(routes: impl Iterator<Item = &'a HttpRoute>) -> Option<Arc<Self>> {
        let mut entries = Vec::new();
        let mut seen = BTreeSet::new();
        for route in routes {
            if !seen.insert((&route.namespace, &route.name)) {
                // For all ports and for this one, say: once is enough.
                continue;
            }
            let hosts: Arc<[HostPattern]> = route.hostnames.clone().into();
            for (number, rule) in route.rules.iter().enumerate() {
                let label: Arc<str> = format!("{}/{}/{number}", route.namespace, route.name).into();
                let rule = Arc::new(rule.clone());
                entries.extend(rule.matches.iter().map(|matching| Entry {
                    matching: matching.clone(),
                    hosts: Arc::clone(&hosts),
                    rule: Arc::clone(&rule),
                    label: Arc::clone(&label),
                }));
            }
        }
        if seen.is_empty() {
            return None;
        }
        // Stable: what this order cannot tell apart stays in the order of age, name and rule.
        entries.sort_by_key(|entry| entry.matching.rank());
        let by_host = entries.iter().any(|entry| !entry.hosts.is_empty());
        Some(Arc::new(Self { entries, by_host }))
    }

    /// The rule that a request meets; none means that nobody wants it (404).
    #[must_use]
    pub fn choose(&self, request: &RequestView<'_>) -> Option<Chosen<'_>> {
        let mut best: Option<(Option<(bool, usize)>, &Entry)> = None;
        for entry in &self.entries {
            let Some(closeness) = entry.closeness(request) else { continue };
            // Hosts count before everything else; of equals the first one stays.
            if best.as_ref().is_some_and(|(reigning, _)| closeness <= *reigning) {
                continue;
            }
            if entry.matching.holds(request) {
                best = Some((closeness, entry));
                if !self.by_host {
                    break;
                }
            }
        }
        best.map(|(_, entry)| Chosen {
            rule: &entry.rule,
            label: &entry.label,
            prefix: match &entry.matching.path {
                PathMatch::Prefix(prefix) => prefix,
                PathMatch::Exact(_) => "",
            },
        })
    }
}

impl Entry {
    /// Whether it is for the host that is asked for, and how closely; nothing within if it is for every host.
    fn closeness(&self, request: &RequestView<'_>) -> Option<Option<(bool, usize)>> {
        if self.hosts.is_empty() {
            return Some(None);
        }
        let host = request.host()?;
        self.hosts.iter().filter_map(|pattern| pattern.closeness(host)).max().map(Some)
    }
}
