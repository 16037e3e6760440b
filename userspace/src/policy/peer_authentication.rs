//! Istio's `PeerAuthentication`: several resources become one decision for one workload.
//!
//! Of the resources that are meant for a workload, one with a selector stands above one for its namespace, and that
//! above one for the mesh; within one of these levels only the oldest counts. What a level leaves unset it takes from
//! the level below it, and `PERMISSIVE` is what there is without any. Ports are set by the selecting resource only.
//! (`PeerAuthentication` in Istio's reference; the words "oldest" and "root namespace" are explained there.)

use std::collections::BTreeMap;

use super::{MutualTls, MutualTlsMode, Subject};

/// One resource. A mode of `None` is `UNSET`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAuthentication {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.creationTimestamp` in seconds of Unix time; a resource without one is the oldest.
    pub created: Option<u64>,
    /// `spec.selector.matchLabels`; empty if the resource is for its whole namespace, or for the whole mesh.
    pub selector: BTreeMap<String, String>,
    /// `spec.mtls.mode`.
    pub mode: Option<MutualTlsMode>,
    /// `spec.portLevelMtls`; means nothing without a selector.
    pub ports: BTreeMap<u16, Option<MutualTlsMode>>,
}

/// How near a resource is to the workload it is for, the nearest last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Mesh,
    Namespace,
    Workload,
}

impl MutualTls {
    /// What `resources` say for one workload.
    #[must_use]
    pub fn decide(resources: &[PeerAuthentication], subject: Subject<'_>) -> Self {
        let oldest = |level| {
            let meant = resources.iter().filter(|resource| subject.level(resource) == Some(level));
            meant.min_by_key(|resource| (resource.created, &resource.namespace, &resource.name))
        };
        let mut mode = MutualTlsMode::default();
        let mut ports = BTreeMap::new();
        for level in [Level::Mesh, Level::Namespace, Level::Workload] {
            let Some(resource) = oldest(level) else { continue };
            mode = resource.mode.unwrap_or(mode);
            if level == Level::Workload {
                ports = resource.ports.iter().map(|(&port, set)| (port, set.unwrap_or(mode))).collect();
            }
        }
        Self { mode, ports, probes: Vec::new() }
    }
}

impl Subject<'_> {
    /// At which level a resource is meant for this workload, if it is.
    fn level(self, resource: &PeerAuthentication) -> Option<Level> {
        let meant = self.is_meant_by(&resource.namespace, &resource.selector);
        meant.then(|| match (resource.selector.is_empty(), resource.namespace == self.root_namespace) {
            (false, _) => Level::Workload,
            (true, false) => Level::Namespace,
            (true, true) => Level::Mesh,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::MutualTlsMode::{Disable, Permissive, Strict};
    use super::*;

    fn resource(namespace: &str, name: &str, mode: Option<MutualTlsMode>) -> PeerAuthentication {
        PeerAuthentication {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            created: None,
            selector: BTreeMap::new(),
            mode,
            ports: BTreeMap::new(),
        }
    }

    fn labels(text: &[(&str, &str)]) -> BTreeMap<String, String> {
        text.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn selecting(namespace: &str, name: &str, mode: Option<MutualTlsMode>) -> PeerAuthentication {
        PeerAuthentication { selector: labels(&[("app", "web")]), ..resource(namespace, name, mode) }
    }

    /// What port 80 of `app: web` in the namespace `shop` takes, in whatever order the resources were written.
    fn check(mut resources: Vec<PeerAuthentication>, expected: MutualTlsMode) {
        let labels = labels(&[("app", "web"), ("version", "1")]);
        let subject = Subject {
            trust_domain: "cluster.local",
            namespace: "shop",
            labels: &labels,
            root_namespace: "istio-system",
        };
        for _ in 0..2 {
            assert_eq!(MutualTls::decide(&resources, subject).mode(80), expected, "{resources:#?}");
            resources.reverse();
        }
    }

    #[test]
    fn the_nearest_resource_wins() {
        let mesh = resource("istio-system", "a", Some(Strict));
        let namespace = resource("shop", "b", Some(Disable));
        let workload = selecting("shop", "c", Some(Permissive));
        check(vec![], Permissive);
        check(vec![mesh.clone()], Strict);
        check(vec![mesh.clone(), namespace.clone()], Disable);
        check(vec![mesh, namespace, workload], Permissive);
    }

    #[test]
    fn what_is_unset_is_inherited() {
        let mesh = resource("istio-system", "a", Some(Strict));
        check(vec![mesh.clone(), resource("shop", "b", None)], Strict);
        check(vec![mesh.clone(), selecting("shop", "c", None)], Strict);
        check(vec![resource("istio-system", "a", None)], Permissive);
        let mut ports = selecting("shop", "c", None);
        ports.ports = [(80, None), (81, Some(Disable))].into();
        check(vec![mesh, ports], Strict);
    }

    #[test]
    fn a_port_stands_above_the_workload_that_it_is_of() {
        let mut workload = selecting("shop", "c", Some(Strict));
        workload.ports = [(80, Some(Disable)), (81, None)].into();
        check(vec![workload.clone()], Disable);
        let labels = labels(&[("app", "web")]);
        let subject = Subject {
            trust_domain: "cluster.local",
            namespace: "shop",
            labels: &labels,
            root_namespace: "istio-system",
        };
        let decided = MutualTls::decide(&[workload], subject);
        assert_eq!((decided.mode(81), decided.mode(82)), (Strict, Strict));
    }

    #[test]
    fn what_is_meant_for_others_counts_for_nothing() {
        check(vec![resource("billing", "a", Some(Strict))], Permissive);
        check(vec![selecting("billing", "a", Some(Strict))], Permissive);
        let mut other = selecting("shop", "a", Some(Strict));
        other.selector = labels(&[("app", "web"), ("tier", "front")]);
        check(vec![other], Permissive);
    }

    #[test]
    fn a_selector_in_the_root_namespace_selects_everywhere() {
        check(
            vec![selecting("istio-system", "a", Some(Strict)), resource("shop", "b", Some(Disable))],
            Strict,
        );
    }

    #[test]
    fn of_one_level_the_oldest_counts_and_then_the_first_by_name() {
        for namespace in ["istio-system", "shop"] {
            let aged = |name, created, mode| PeerAuthentication {
                created: Some(created),
                ..resource(namespace, name, Some(mode))
            };
            check(vec![aged("a", 2, Strict), aged("b", 1, Disable)], Disable);
            check(vec![aged("a", 1, Strict), aged("b", 1, Disable)], Strict);
            check(vec![aged("a", 1, Strict), resource(namespace, "b", Some(Disable))], Disable);
        }
        let younger = PeerAuthentication { created: Some(2), ..selecting("shop", "a", Some(Disable)) };
        let mut older = PeerAuthentication { created: Some(1), ..selecting("shop", "b", None) };
        older.ports = [(80, Some(Strict))].into();
        check(vec![younger, older], Strict);
    }
}
