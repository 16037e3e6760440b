//! What is in force of what a cluster holds.

use std::collections::BTreeMap;

use super::*;
use crate::policy::{Call, Content, MutualTlsMode};
use crate::routing::{Backing, Rule};

const ALLOW: &str = r#"{"apiVersion":"security.istio.io/v1","kind":"AuthorizationPolicy",
    "metadata":{"namespace":"shop","name":"a"},
    "spec":{"selector":{"matchLabels":{"app":"db"}},"rules":[{"to":[{"operation":{"ports":["80"]}}]}]}}"#;

fn object<'a>(kind: &'a str, json: &'a str) -> ClusterObject<'a> {
    ClusterObject { kind, namespace: "shop", name: "a", json }
}

/// What becomes of a connection to a port of `app: NAME`, from anybody in plain text.
fn admitted(cluster: &Cluster, app: &str, port: u16) -> bool {
    let labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
    let subject = Subject {
        trust_domain: "cluster.local",
        namespace: "shop",
        labels: &labels,
        root_namespace: "istio-system",
    };
    let (_, authorization) = cluster.policies(subject);
    let destination = ([10, 0, 0, 9], port).into();
    let client = [10, 0, 0, 1].into();
    let call = Call { source: None, client, destination, content: Content::Opaque };
    authorization.decide(&call).ruling.is_allowed()
}

fn policy(json: &str, before: &Cluster) -> Cluster {
    Cluster::read([object("AuthorizationPolicy", json)], before)
}

#[test]
fn a_policy_holds_for_those_it_selects() {
    let cluster = policy(ALLOW, &Cluster::default());
    assert!(admitted(&cluster, "db", 80));
    assert!(!admitted(&cluster, "db", 81));
    assert!(admitted(&cluster, "web", 81));
    assert_eq!(cluster.rejected().count(), 0);
}

#[test]
fn the_last_good_version_of_a_policy_stays_in_force() {
    let good = policy(ALLOW, &Cluster::default());
    let broken = policy(&ALLOW.replace("\"80\"", "\"eighty\""), &good);
    assert!(admitted(&broken, "db", 80) && !admitted(&broken, "db", 81));
    let rejected: Vec<_> = broken.rejected().collect();
    assert_eq!((rejected.len(), rejected[0].0.to_string()), (1, "AuthorizationPolicy shop/a".to_owned()));
    // Twice over.
    let broken = policy(&ALLOW.replace("\"80\"", "\"ninety\""), &broken);
    assert!(admitted(&broken, "db", 80) && !admitted(&broken, "db", 81));
    let gone = Cluster::read([], &broken);
    assert!(admitted(&gone, "db", 81));
}

#[test]
fn a_policy_that_was_never_good_is_held_closed_for_those_it_selects() {
    for (what, spec) in [
        ("an allowing one", r#""rules":[{"to":[{"operation":{"ports":["eighty"]}}]}]"#),
        ("one with tokens", r#""rules":[{"from":[{"source":{"requestPrincipals":["*"]}}]}]"#),
        ("a denying one", r#""action":"DENY","rules":[{"unknown":1}]"#),
        ("one that asks somebody else", r#""action":"CUSTOM","provider":{"name":"x"},"rules":[{}]"#),
    ] {
        let json = format!(
            r#"{{"apiVersion":"security.istio.io/v1","kind":"AuthorizationPolicy","metadata":{{"namespace":"shop","name":"a"}},
            "spec":{{"selector":{{"matchLabels":{{"app":"db"}}}},{spec}}}}}"#
        );
        let cluster = policy(&json, &Cluster::default());
        assert!(!admitted(&cluster, "db", 80), "{what}");
        assert!(admitted(&cluster, "web", 80), "{what}");
        assert_eq!(cluster.rejected().count(), 1, "{what}");
    }
}

#[test]
fn a_policy_for_a_gateway_or_a_waypoint_is_for_no_workload() {
    let json = ALLOW.replace(
        r#""selector":{"matchLabels":{"app":"db"}}"#,
        r#""targetRefs":[{"group":"gateway.networking.k8s.io","kind":"Gateway","name":"g"}]"#,
    );
    let cluster = policy(&json, &Cluster::default());
    assert!(admitted(&cluster, "db", 81));
    assert_eq!(cluster.rejected().count(), 1);
}

#[test]
fn plain_text_is_refused_where_it_is_not_known_whether_it_may_come_in() {
    let json = r#"{"apiVersion":"security.istio.io/v1","kind":"PeerAuthentication","metadata":{"namespace":"shop","name":"a"},
        "spec":{"mtls":{"mode":"PERHAPS"}}}"#;
    let cluster = Cluster::read([object("PeerAuthentication", json)], &Cluster::default());
    let labels = BTreeMap::new();
    let subject = Subject {
        trust_domain: "cluster.local",
        namespace: "shop",
        labels: &labels,
        root_namespace: "istio-system",
    };
    assert_eq!(cluster.policies(subject).0.mode(80), MutualTlsMode::Strict);
}

/// A route of `shop` whose requests go to its own `web` and to `ledger` of the namespace `bank`, where copies go too.
const ROUTE: &str = r#"{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute",
    "metadata":{"namespace":"shop","name":"a"},
    "spec":{"parentRefs":[{"group":"","kind":"Service","name":"web"}],"rules":[{
        "filters":[{"type":"RequestMirror","requestMirror":{"backendRef":{"name":"ledger","namespace":"bank","port":80}}}],
        "backendRefs":[{"name":"web","port":80},{"name":"ledger","namespace":"bank","port":80}]}]}}"#;

/// What becomes of it beside a grant of `bank` with this specification.
fn led(from: &str, to: &str) -> Cluster {
    let grant = format!(
        r#"{{"apiVersion":"gateway.networking.k8s.io/v1beta1","kind":"ReferenceGrant",
        "metadata":{{"namespace":"bank","name":"g"}},"spec":{{"from":[{from}],"to":[{to}]}}}}"#
    );
    let grant = ClusterObject { kind: "ReferenceGrant", namespace: "bank", name: "g", json: &grant };
    Cluster::read([object("HTTPRoute", ROUTE), grant], &Cluster::default())
}

/// Whether its own backend, the other one and the copies reach a service.
fn reached(cluster: &Cluster) -> [bool; 3] {
    let routes = cluster.resources().routes();
    let [Rule { backends, filters, .. }] = routes[0].rules.as_slice() else { panic!("{routes:?}") };
    [&backends[0].to, &backends[1].to, &filters.mirrors[0].to].map(|to| matches!(to, Backing::Service(_)))
}

#[test]
fn a_route_leads_to_another_namespace_only_where_that_grants_it() {
    const ROUTES: &str = r#"{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","namespace":"shop"}"#;
    const SERVICES: &str = r#"{"group":"","kind":"Service"}"#;
    const SECRETS: &str = r#"{"group":"","kind":"Secret"}"#;
    let named = |name: &str| format!(r#"{{"group":"","kind":"Service","name":"{name}"}}"#);
    for (what, from, to, granted) in [
        ("all services", ROUTES.to_owned(), SERVICES.to_owned(), true),
        ("this one", ROUTES.to_owned(), format!("{SECRETS},{}", named("ledger")), true),
        ("this one among others", ROUTES.to_owned(), format!("{},{SERVICES}", named("x")), true),
        ("another one", ROUTES.to_owned(), named("vault"), false),
        ("no service", ROUTES.to_owned(), SECRETS.to_owned(), false),
        ("another namespace", ROUTES.replace("shop", "other"), SERVICES.to_owned(), false),
        ("another kind", ROUTES.replace("HTTPRoute", "GRPCRoute"), SERVICES.to_owned(), false),
        ("another group", ROUTES.replace("gateway.", "other."), SERVICES.to_owned(), false),
    ] {
        let cluster = led(&from, &to);
        assert_eq!(cluster.rejected().count(), 0, "{what}");
        assert_eq!(reached(&cluster), [true, granted, granted], "{what}");
        assert_eq!(cluster.ungranted().len(), usize::from(!granted), "{what}");
    }
    let without = Cluster::read([object("HTTPRoute", ROUTE)], &Cluster::default());
    assert_eq!(reached(&without), [true, false, false]);
    let [ungranted] = without.ungranted().try_into().expect("one");
    assert_eq!(ungranted.key.to_string(), "HTTPRoute shop/a");
    assert!(ungranted.message.contains("ledger.bank.svc"), "{}", ungranted.message);
    assert_eq!(ungranted.namespaces, std::collections::BTreeSet::from(["bank".to_owned()]));
}

#[test]
fn a_grant_that_is_not_valid_grants_what_it_granted_before() {
    let good = led(
        r#"{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","namespace":"shop"}"#,
        r#"{"group":"","kind":"Service"}"#,
    );
    let broken = r#"{"apiVersion":"gateway.networking.k8s.io/v1beta1","kind":"ReferenceGrant",
        "metadata":{"namespace":"bank","name":"g"},"spec":{"from":[{"kind":7}],"to":[]}}"#;
    let broken = ClusterObject { kind: "ReferenceGrant", namespace: "bank", name: "g", json: broken };
    for (before, granted) in [(&good, true), (&Cluster::default(), false)] {
        let cluster = Cluster::read([object("HTTPRoute", ROUTE), broken], before);
        assert_eq!(cluster.rejected().count(), 1);
        assert_eq!(reached(&cluster), [true, granted, granted]);
    }
    let gone = Cluster::read([object("HTTPRoute", ROUTE)], &good);
    assert_eq!(reached(&gone), [true, false, false]);
}
