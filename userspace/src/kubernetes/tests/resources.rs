//! Policies and routes of the namespaces that matter, as they were written.

use super::super::{Interest, Mesh};
use super::*;
use crate::model::ObjectKey;

fn interest(namespaces: &[&str]) -> Interest {
    Interest {
        namespaces: namespaces.iter().map(|&name| name.to_owned()).collect(),
        root_namespace: "mesh".to_owned(),
    }
}

fn policy(namespace: &str, name: &str) -> Value {
    json!({
        "kind": "AuthorizationPolicy",
        "metadata": {
            "name": name, "namespace": namespace,
            "managedFields": [{ "manager": "kubectl" }],
            "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{}", "istio.io/dry-run": "true" },
        },
        "spec": { "rules": [{}] },
        "status": { "conditions": [] },
    })
}

fn key(namespace: &str, name: &str) -> ObjectKey {
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    ObjectKey { kind: "AuthorizationPolicy".to_owned(), namespace, name }
}

fn settled(namespace: &str) -> impl Fn(&Mesh) -> bool {
    move |mesh| mesh.settled.contains(namespace)
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_are_read_where_somebody_is_interested_and_nowhere_else() {
    let api = Harness::new();
    for namespace in ["shop", "mesh", "other"] {
        api.put(policy(namespace, "rule"));
    }
    let feed = feed(&api).await;
    let mut mesh = feed.mesh();
    feed.set_interest(interest(&["shop"]));
    let now = until("the namespace is settled", &mut mesh, settled("shop")).await;
    let keys: Vec<_> = now.resources.keys().cloned().collect();
    assert_eq!(keys, [key("mesh", "rule"), key("shop", "rule")]);
    let read: Value = serde_json::from_str(&now.resources[&key("shop", "rule")].json).unwrap();
    assert_eq!(read["apiVersion"], "security.istio.io/v1");
    assert_eq!(read["spec"], json!({ "rules": [{}] }));
    assert_eq!(read["metadata"]["annotations"], json!({ "istio.io/dry-run": "true" }));
    assert!(read["status"].is_null() && read["metadata"]["managedFields"].is_null());

    feed.set_interest(interest(&["other"]));
    let now = until("the other is settled", &mut mesh, settled("other")).await;
    assert!(!now.settled.contains("shop") && !now.resources.contains_key(&key("shop", "rule")));
    assert!(
        api.requests()
            .iter()
            .all(|request| request.path != "/apis/security.istio.io/v1/authorizationpolicies")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_status_alone_is_no_change() {
    let api = Harness::new();
    api.put(policy("shop", "rule"));
    let feed = feed(&api).await;
    let mut mesh = feed.mesh();
    feed.set_interest(interest(&["shop"]));
    until("the namespace is settled", &mut mesh, settled("shop")).await;
    let mut changed = policy("shop", "rule");
    changed["status"] = json!({ "conditions": [{ "type": "Accepted" }] });
    api.put(changed.clone());
    mesh.mark_unchanged();
    tokio::time::timeout(Duration::from_millis(500), mesh.changed()).await.expect_err("nothing to tell");
    changed["spec"] = json!({ "action": "DENY" });
    api.put(changed);
    let now = until("the change is seen", &mut mesh, |mesh| {
        mesh.resources.values().any(|object| object.json.contains("DENY"))
    })
    .await;
    assert_eq!(now.resources[&key("shop", "rule")].generation, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_is_not_installed_is_none_until_it_is() {
    let api = Harness::new();
    api.install("HTTPRoute", false);
    api.install("AuthorizationPolicy", false);
    api.put(policy("shop", "rule"));
    let feed = feed(&api).await;
    let mut mesh = feed.mesh();
    feed.set_interest(interest(&["shop"]));
    let now = until("the namespace is settled", &mut mesh, settled("shop")).await;
    assert!(now.resources.is_empty());
    api.install("AuthorizationPolicy", true);
    until("the policy is seen", &mut mesh, |mesh| mesh.resources.contains_key(&key("shop", "rule"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_policies_cannot_be_read_nothing_is_settled() {
    let api = Harness::new();
    api.put(pod("web", "here", "10.0.0.1"));
    let feed = feed(&api).await;
    until("the pods are listed", &mut feed.pods(), |pods| pods.listed).await;
    api.down();
    feed.set_interest(interest(&["shop"]));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(feed.mesh().borrow().settled.is_empty());
    api.up();
    until("the namespace is settled", &mut feed.mesh(), settled("shop")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_says_nothing_is_skipped_and_the_others_are_not() {
    let api = Harness::new();
    let mut empty = policy("shop", "empty");
    empty["spec"] = json!("all of them");
    api.put(empty);
    api.put(policy("shop", "rule"));
    let feed = feed(&api).await;
    feed.set_interest(interest(&["shop"]));
    let now = until("the namespace is settled", &mut feed.mesh(), settled("shop")).await;
    assert_eq!(now.resources.keys().cloned().collect::<Vec<_>>(), [key("shop", "rule")]);
}
