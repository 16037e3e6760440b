//! The pods of this node, and single questions about others.

use super::*;
use crate::model::{Network, Phase, PodKey};

#[tokio::test(flavor = "multi_thread")]
async fn the_pods_of_our_node_are_followed_and_those_of_others_are_not() {
    let api = Harness::new();
    api.put(namespace("shop"));
    api.put(pod("web", "here", "10.0.0.1"));
    api.put(pod("far", "there", "10.0.0.2"));
    let feed = feed(&api).await;
    let mut pods = feed.pods();
    let now = until("both are listed", &mut pods, |pods| pods.listed).await;
    assert_eq!(now.pods.keys().collect::<Vec<_>>(), [&PodKey::new("shop", "web")]);
    assert_eq!(now.namespaces["shop"]["sidestep.io/mode"], "enabled");
    let web = &now.pods[&PodKey::new("shop", "web")];
    assert_eq!((web.service_account.as_str(), web.phase), ("web", Phase::Running));
    assert_eq!(web.addresses, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);

    api.put(pod("new", "here", "10.0.0.3"));
    until("a new one is seen", &mut pods, |pods| pods.pods.len() == 2).await;
    api.delete("Pod", "shop", "web");
    until("one that went is seen", &mut pods, |pods| pods.pods.len() == 1).await;
    let pod_requests = api.asked("/api/v1/pods", 2);
    assert!(pod_requests.iter().all(|request| request.query["fieldSelector"] == "spec.nodeName=here"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pod_is_is_read_from_what_is_written_and_what_is_not() {
    let api = Harness::new();
    api.put(json!({
        "kind": "Pod",
        "metadata": {
            "name": "static", "namespace": "kube-system",
            "annotations": {
                "kubernetes.io/config.hash": "abc", "kubernetes.io/config.mirror": "abc",
                "sidestep.io/mode": "disabled", "other.io/note": "x",
            },
        },
        "spec": { "nodeName": "here", "hostNetwork": true },
    }));
    let feed = feed(&api).await;
    let key = PodKey::new("kube-system", "static");
    let now = until("it is listed", &mut feed.pods(), |pods| pods.pods.contains_key(&key)).await;
    let found = &now.pods[&key];
    assert_eq!(found.uid, "abc");
    assert_eq!(found.service_account, "default");
    assert_eq!((found.network, found.phase), (Network::Host, Phase::Pending));
    assert_eq!(found.annotations.keys().collect::<Vec<_>>(), ["sidestep.io/mode"]);
    assert!(found.addresses.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_cannot_be_read_does_not_hide_the_others() {
    let api = Harness::new();
    let mut strange = pod("strange", "here", "10.0.0.9");
    strange["metadata"]["labels"] = json!({ "app": 7 });
    api.put(strange);
    let mut wrong = pod("wrong", "here", "10.0.0.8");
    wrong["status"]["podIPs"] = json!([{ "ip": "ten" }]);
    api.put(wrong);
    api.put(pod("web", "here", "10.0.0.1"));
    let feed = feed(&api).await;
    let mut pods = feed.pods();
    let now = until("all are listed", &mut pods, |pods| pods.listed).await;
    assert_eq!(now.pods.keys().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["web"]);
    // It is seen as soon as it can be read, and not any more when it cannot.
    api.put(pod("wrong", "here", "10.0.0.8"));
    until("it was mended", &mut pods, |pods| pods.pods.len() == 2).await;
    let mut web = pod("web", "here", "10.0.0.1");
    web["spec"]["hostNetwork"] = json!("perhaps");
    api.put(web);
    until("one was broken", &mut pods, |pods| pods.pods.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pod_can_be_asked_for_by_name() {
    let api = Harness::new();
    api.put(pod("far", "there", "10.0.0.2"));
    let feed = feed(&api).await;
    let found = feed.pod(&PodKey::new("shop", "far")).await.unwrap().unwrap();
    assert_eq!(found.service_account, "far");
    assert_eq!(feed.pod(&PodKey::new("shop", "nobody")).await.unwrap(), None);
    api.down();
    let error = feed.pod(&PodKey::new("shop", "far")).await.unwrap_err().to_string();
    assert!(error.contains("read pod shop/far"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_a_daemon_set_remains_is_asked_every_time() {
    let api = Harness::new();
    let feed = feed(&api).await;
    assert!(!feed.remains("mesh", "sidestep").await.unwrap());
    let mut set = json!({ "kind": "DaemonSet", "metadata": { "name": "sidestep", "namespace": "mesh" } });
    api.put(set.clone());
    assert!(feed.remains("mesh", "sidestep").await.unwrap());
    set["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    api.put(set);
    assert!(!feed.remains("mesh", "sidestep").await.unwrap());
    api.down();
    // What was under way on an open connection may still be answered.
    let asking = async {
        while feed.remains("mesh", "sidestep").await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(patience(), asking).await.expect("nobody answers any more");
}
