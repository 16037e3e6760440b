//! What is in force of what a cluster holds.

use std::collections::BTreeMap;

use super::*;
use crate::policy::{Call, Content, MutualTlsMode};

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
