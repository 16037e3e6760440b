//! What the connections and requests to a service are held to: the part of Istio's `DestinationRule` that is about that.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Caps, OutlierPolicy, ServiceName, service_key};

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationRule {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.creationTimestamp` in seconds of Unix time; a resource without one is the oldest.
    pub created: Option<u64>,
    /// `spec.host`.
    pub service: ServiceName,
    /// `spec.trafficPolicy`.
    pub policy: TrafficPolicy,
}

/// What the connections and requests to a service are held to. The default one holds them to nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficPolicy {
    /// How many of them there may be at once.
    pub caps: Caps,
    /// How long to wait for a connection, if not `relay.connect-timeout`.
    pub connect_timeout: Option<Duration>,
    /// How many requests a connection carries before it is closed.
    pub requests_per_connection: Option<u32>,
    /// How long a connection that carries nothing is kept.
    pub idle_timeout: Option<Duration>,
    /// When endpoints are left out; never if absent.
    pub outliers: Option<OutlierPolicy>,
}

/// The policies by service.
#[derive(Clone, Debug, Default)]
pub struct Destinations(HashMap<String, Arc<TrafficPolicy>>);

impl Destinations {
    /// Picks the one that counts of several for a service: one of the client's own namespace, or else one of the service's,
    /// or else one of `root_namespace`; of several there the oldest.
    #[must_use]
    pub fn new(resources: &[DestinationRule], own_namespace: Option<&str>, root_namespace: &str) -> Self {
        let level = |rule: &DestinationRule| {
            let own = own_namespace == Some(rule.namespace.as_str());
            let levels = [own, rule.namespace == rule.service.namespace(), rule.namespace == root_namespace];
            levels.iter().position(|meant| *meant)
        };
        let mut meant: Vec<_> = resources.iter().filter_map(|rule| Some((level(rule)?, rule))).collect();
        meant.sort_by_key(|(level, rule)| (*level, rule.created, &rule.namespace, &rule.name));
        let mut policies = HashMap::new();
        for (_, rule) in meant {
            let known = policies.entry(rule.service.key().to_owned());
            known.or_insert_with(|| Arc::new(rule.policy.clone()));
        }
        Self(policies)
    }

    /// What a service is held to, if to anything.
    #[must_use]
    pub fn find(&self, hostname: &str) -> Option<&Arc<TrafficPolicy>> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(service_key(hostname)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(namespace: &str, created: Option<u64>, connections: u32) -> DestinationRule {
        let caps = Caps { connections: Some(connections), ..Caps::default() };
        DestinationRule {
            namespace: namespace.to_owned(),
            name: format!("of-{connections}"),
            created,
            service: ServiceName::new("db", "shop"),
            policy: TrafficPolicy { caps, ..TrafficPolicy::default() },
        }
    }

    #[test]
    fn the_nearest_and_oldest_rule_counts() {
        let found = |rules: &[DestinationRule], own: Option<&str>| {
            let found = Destinations::new(rules, own, "istio-system");
            found.find("db.shop.svc.cluster.local").and_then(|policy| policy.caps.connections)
        };
        let rules = [
            rule("istio-system", None, 1),
            rule("shop", Some(20), 2),
            rule("shop", Some(10), 3),
            rule("front", Some(30), 4),
            rule("elsewhere", None, 5),
        ];
        assert_eq!(found(&rules, Some("front")), Some(4));
        assert_eq!(found(&rules, Some("other")), Some(3));
        assert_eq!(found(&rules, None), Some(3));
        assert_eq!(found(&rules[..1], None), Some(1));
        assert_eq!(found(&rules[4..], None), None);
        assert!(Destinations::new(&rules, None, "").find("db.other.svc").is_none());
    }
}
