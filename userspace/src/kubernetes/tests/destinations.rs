//! Destinations are found when somebody talks to them, and forgotten when nobody does.

use std::net::IpAddr;

use super::super::{Found, Mesh};
use super::*;
use crate::model::{Destination, OriginalDst, Protocol, Reach};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn resolve(mesh: &Mesh, text: &str) -> String {
    match mesh.directory.resolve(OriginalDst(text.parse().unwrap())) {
        Destination::Workload(workload) => format!("{} {:?}", workload.identity.principal(), workload.reach),
        Destination::Service { service, port } => format!("{} {}", service.hostname, port.target_port),
        Destination::NoSuchPort(service) => format!("no port of {}", service.hostname),
        Destination::Unknown => "unknown".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_found_by_its_address_with_everything_behind_it() {
    let api = Harness::new();
    api.put(service("db", "10.96.0.1"));
    api.put(slice("db", &["10.0.0.9", "10.0.0.8"]));
    let mut enrolled = pod("db", "there", "10.0.0.9");
    enrolled["metadata"]["annotations"] = json!({ "sidestep.io/status": "enrolled" });
    api.put(enrolled);
    let mut plain = pod("db2", "there", "10.0.0.8");
    plain["metadata"]["labels"]["app"] = json!("db");
    api.put(plain.clone());
    let feed = feed(&api).await;
    assert_eq!(resolve(&feed.mesh().borrow(), "10.96.0.1:80"), "unknown");
    assert_eq!(feed.find(address("10.96.0.1")).await, Found::Known);
    let mut mesh = feed.mesh();
    let now = Arc::clone(&mesh.borrow_and_update());
    assert_eq!(resolve(&now, "10.96.0.1:80"), "db.shop.svc.cluster.local 8080");
    assert_eq!(resolve(&now, "10.96.0.1:81"), "no port of db.shop.svc.cluster.local");
    assert_eq!(resolve(&now, "10.0.0.9:1"), "cluster.local/ns/shop/sa/db Tunnel");
    assert_eq!(resolve(&now, "10.0.0.8:1"), "cluster.local/ns/shop/sa/db2 Plain");
    let found = now.directory.service_named("db.shop").unwrap().unwrap();
    assert_eq!(found.endpoints, [address("10.0.0.8"), address("10.0.0.9")]);
    assert_eq!(found.ports[0].protocol, Some(Protocol::Http1));

    // It is followed from then on.
    plain["metadata"]["annotations"] = json!({ "ambient.istio.io/redirection": "enabled" });
    api.put(plain);
    until("it is enrolled", &mut mesh, |mesh| {
        mesh.directory.workload(address("10.0.0.8")).is_some_and(|found| found.reach == Reach::Tunnel)
    })
    .await;
    api.put(slice("db", &["10.0.0.9"]));
    until("an endpoint is gone", &mut mesh, |mesh| {
        mesh.directory.service_named("db.shop").unwrap().unwrap().endpoints == [address("10.0.0.9")]
    })
    .await;
    api.delete("Service", "shop", "db");
    until("the service is gone", &mut mesh, |mesh| resolve(mesh, "10.96.0.1:80") == "unknown").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_found_by_their_address_and_neighbours_on_the_node_without_asking() {
    let api = Harness::new();
    api.put(pod("web", "here", "10.0.0.1"));
    api.put(pod("far", "there", "10.0.0.2"));
    let mut host = pod("host", "there", "10.0.0.3");
    host["spec"]["hostNetwork"] = json!(true);
    api.put(host);
    let mut ended = pod("ended", "there", "10.0.0.4");
    ended["status"]["phase"] = json!("Succeeded");
    api.put(ended);
    let feed = feed(&api).await;
    until("the pods are listed", &mut feed.mesh(), |mesh| resolve(mesh, "10.0.0.1:1") != "unknown").await;
    assert_eq!(feed.find(address("10.0.0.1")).await, Found::Known);
    assert!(api.requests().iter().all(|request| !request.target().contains("10.0.0.1")));
    assert_eq!(feed.find(address("::ffff:10.0.0.2")).await, Found::Known);
    assert_eq!(resolve(&feed.mesh().borrow(), "10.0.0.2:1"), "cluster.local/ns/shop/sa/far Plain");
    assert_eq!(feed.find(address("10.0.0.3")).await, Found::Nobody);
    assert_eq!(feed.find(address("10.0.0.4")).await, Found::Nobody);
    // The address passes to another pod.
    api.delete("Pod", "shop", "far");
    api.put(pod("heir", "there", "10.0.0.2"));
    until("the old one is not known any more", &mut feed.mesh(), |mesh| {
        !resolve(mesh, "10.0.0.2:1").contains("far")
    })
    .await;
    assert_eq!(feed.find(address("10.0.0.2")).await, Found::Known);
    assert_eq!(resolve(&feed.mesh().borrow(), "10.0.0.2:1"), "cluster.local/ns/shop/sa/heir Plain");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_questions_are_one_and_what_is_nobodys_is_remembered_for_a_while() {
    let api = Harness::new();
    let feed = feed(&api).await;
    until("the pods are listed", &mut feed.pods(), |pods| pods.listed).await;
    api.slow(Duration::from_millis(100));
    let asks = (0..50).map(|_| feed.find(address("192.0.2.1")));
    assert!(futures_util::future::join_all(asks).await.iter().all(|&found| found == Found::Nobody));
    let lookups = || {
        let by_address =
            |request: &&sidestep_tests::api::Request| request.target().contains("spec.clusterIP=192.0.2.1");
        api.requests().iter().filter(by_address).count()
    };
    assert_eq!(lookups(), 1);
    api.slow(Duration::ZERO);
    assert_eq!(feed.find(address("192.0.2.1")).await, Found::Nobody);
    assert_eq!(lookups(), 1);
    tokio::time::sleep(HURRY.nobody).await;
    api.put(pod("late", "there", "192.0.2.1"));
    assert_eq!(feed.find(address("192.0.2.1")).await, Found::Known);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_asked_is_told_from_one_that_knows_nobody() {
    let api = Harness::new();
    api.put(service("db", "10.96.0.1"));
    let feed = feed(&api).await;
    until("the pods are listed", &mut feed.pods(), |pods| pods.listed).await;
    api.down();
    assert_eq!(feed.find(address("10.96.0.1")).await, Found::Unreachable);
    api.up();
    assert_eq!(feed.find(address("10.96.0.1")).await, Found::Known);
    // What is known stays known.
    api.down();
    assert_eq!(feed.find(address("10.96.0.1")).await, Found::Known);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_for_longest_ago_makes_room() {
    let api = Harness::new();
    for index in 1..=6 {
        api.put(pod(&format!("p{index}"), "there", &format!("10.0.1.{index}")));
    }
    let feed = feed(&api).await;
    for index in [1, 2, 3, 4, 1, 5, 6] {
        assert_eq!(feed.find(address(&format!("10.0.1.{index}"))).await, Found::Known);
    }
    let known = |mesh: &Mesh| -> Vec<u8> {
        (1..=6)
            .filter(|index| mesh.directory.workload(address(&format!("10.0.1.{index}"))).is_some())
            .collect()
    };
    until("two were forgotten", &mut feed.mesh(), |mesh| known(mesh) == [1, 4, 5, 6]).await;
    assert_eq!(feed.find(address("10.0.1.2")).await, Found::Known);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_routes_lead_is_known_when_the_service_is() {
    let api = Harness::new();
    api.put(service("web", "10.96.0.1"));
    api.put(service("canary", "10.96.0.2"));
    api.put(slice("canary", &["10.0.0.7"]));
    api.put(pod("canary", "there", "10.0.0.7"));
    let mut route = json!({
        "kind": "HTTPRoute",
        "metadata": { "name": "split", "namespace": "shop" },
        "spec": {
            "parentRefs": [{ "kind": "Service", "group": "", "name": "web" }],
            "rules": [{ "backendRefs": [{ "name": "canary", "port": 80, "weight": 1 }] }],
        },
    });
    api.put(route.clone());
    let feed = feed(&api).await;
    assert_eq!(feed.find(address("10.96.0.1")).await, Found::Known);
    let now = Arc::clone(&feed.mesh().borrow());
    assert_eq!(now.resources.len(), 1);
    assert_eq!(resolve(&now, "10.0.0.7:1"), "cluster.local/ns/shop/sa/canary Plain");
    assert!(now.directory.service_named("canary.shop").unwrap().is_some());
    // And is forgotten when no route leads there any more.
    route["spec"]["rules"] = json!([]);
    api.put(route);
    until("it is forgotten", &mut feed.mesh(), |mesh| resolve(mesh, "10.0.0.7:1") == "unknown").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_pods_with_one_address_the_newest_that_runs_is_believed() {
    let api = Harness::new();
    let mut old = pod("old", "here", "10.0.0.1");
    old["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut new = pod("new", "here", "10.0.0.1");
    new["metadata"]["creationTimestamp"] = json!("2026-01-02T00:00:00Z");
    api.put(new.clone());
    api.put(old.clone());
    let feed = feed(&api).await;
    let mut mesh = feed.mesh();
    let is = |name: &'static str| {
        move |mesh: &Mesh| resolve(mesh, "10.0.0.1:1") == format!("cluster.local/ns/shop/sa/{name} Plain")
    };
    until("the newer is believed", &mut mesh, is("new")).await;
    new["status"]["phase"] = json!("Pending");
    api.put(new.clone());
    until("the one that runs is believed", &mut mesh, is("old")).await;
    api.delete("Pod", "shop", "old");
    until("the other one is left", &mut mesh, is("new")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_address_of_a_service_is_found_where_the_server_keeps_it() {
    let api = Harness::new();
    let mut dual = service("db", "10.96.0.1");
    dual["spec"]["clusterIPs"] = json!(["10.96.0.1", "fd96::1"]);
    api.put(dual);
    api.put(json!({
        "kind": "IPAddress", "metadata": { "name": "fd96::1" },
        "spec": { "parentRef": { "group": "", "resource": "services", "namespace": "shop", "name": "db" } },
    }));
    let feed = feed(&api).await;
    assert_eq!(feed.find(address("fd96::1")).await, Found::Known);
    assert_eq!(resolve(&feed.mesh().borrow(), "[fd96::1]:80"), "db.shop.svc.cluster.local 80");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_namespace_grants_is_known_before_anybody_is_led_there() {
    let api = Harness::new();
    api.put(service("web", "10.96.0.1"));
    let mut ledger = service("ledger", "10.96.0.2");
    ledger["metadata"]["namespace"] = json!("bank");
    api.put(ledger);
    api.put(json!({
        "kind": "HTTPRoute",
        "metadata": { "name": "away", "namespace": "shop" },
        "spec": {
            "parentRefs": [{ "kind": "Service", "group": "", "name": "web" }],
            "rules": [{ "backendRefs": [{ "name": "ledger", "namespace": "bank", "port": 80 }] }],
        },
    }));
    api.put(json!({
        "kind": "ReferenceGrant",
        "metadata": { "name": "all", "namespace": "bank" },
        "spec": {
            "from": [{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "shop" }],
            "to": [{ "group": "", "kind": "Service" }],
        },
    }));
    let feed = feed(&api).await;
    assert_eq!(feed.find(address("10.96.0.1")).await, Found::Known);
    let mesh = Arc::clone(&feed.mesh().borrow());
    assert!(mesh.granting.contains("shop") && mesh.granting.contains("bank"), "{:?}", mesh.granting);
    let kinds: Vec<_> = mesh.resources.keys().map(ToString::to_string).collect();
    assert_eq!(kinds, ["HTTPRoute shop/away", "ReferenceGrant bank/all"]);
    assert!(mesh.directory.service_named("ledger.bank").unwrap().is_some());
}
