//! Which services routes lead to: these have to be known when those are that the routes are for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;

use super::Object;
use super::follow::Place;
use crate::model::ObjectKey;

/// By a service, the services that its routes lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Routes(BTreeMap<Place, BTreeSet<Place>>);

#[derive(Debug, Deserialize)]
struct Route {
    spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    parent_refs: Vec<Reference>,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    backend_refs: Vec<Reference>,
    #[serde(default)]
    filters: Vec<Filter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    request_mirror: Option<Mirror>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mirror {
    backend_ref: Reference,
}

#[derive(Debug, Deserialize)]
struct Reference {
    #[serde(default)]
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
}

impl Reference {
    /// The service that it names, if it is one. `kind` has to say so where something else would be meant without.
    fn service(self, own_namespace: &str, kind: &str) -> Option<Place> {
        let is_service = self.kind.as_deref().unwrap_or(kind) == "Service"
            && matches!(self.group.as_deref(), None | Some("" | "core"));
        is_service.then(|| (self.namespace.unwrap_or_else(|| own_namespace.to_owned()), self.name))
    }
}

impl Routes {
    /// Reads them; a route that cannot be read leads nowhere, and whoever gives it its meaning says why.
    pub(super) fn read(resources: &BTreeMap<ObjectKey, Arc<Object>>) -> Self {
        let mut leads: BTreeMap<Place, BTreeSet<Place>> = BTreeMap::new();
        for (key, object) in resources.iter().filter(|(key, _)| key.kind == "HTTPRoute") {
            let Ok(Route { spec }) = serde_json::from_str(&object.json) else { continue };
            let own = &key.namespace;
            let parents = spec.parent_refs.into_iter().filter_map(|parent| parent.service(own, "Gateway"));
            let backends: BTreeSet<Place> = spec
                .rules
                .into_iter()
                .flat_map(|rule| {
                    let mirrors = rule.filters.into_iter().filter_map(|filter| filter.request_mirror);
                    rule.backend_refs.into_iter().chain(mirrors.map(|mirror| mirror.backend_ref))
                })
                .filter_map(|backend| backend.service(own, "Service"))
                .collect();
            for parent in parents {
                leads.entry(parent).or_default().extend(backends.iter().cloned());
            }
        }
        Self(leads)
    }

    /// Where the routes of a service lead.
    pub(super) fn of(&self, service: &Place) -> impl Iterator<Item = &Place> {
        self.0.get(service).into_iter().flatten()
    }
}
