//! What is told to the cluster: events, notes on pods, conditions.

use sidestep_tests::api::Fault;

use super::super::News;
use super::*;
use crate::model::{ObjectKey, PodKey, Pods};

async fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = attempt() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(patience(), waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

fn refused(uid: &str) -> News {
    News::Event {
        pod: PodKey::new("shop", "web"),
        uid: uid.to_owned(),
        reason: "EnrolmentRefused".to_owned(),
        message: "expected a network of its own, found the node's".to_owned(),
        warning: true,
    }
}

fn writes(api: &Harness) -> usize {
    api.requests().iter().filter(|request| request.method != "GET").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_told_once_however_often_it_is_told() {
    let api = Harness::new();
    let web = api.put(pod("web", "here", "10.0.0.1"));
    let uid = web["metadata"]["uid"].as_str().unwrap();
    for _again in 0..2 {
        let feed = feed(&api).await;
        for _ in 0..20 {
            feed.tell(refused(uid));
        }
        api.asked("/events", 1);
        let events =
            eventually("the event is there", || Some(api.all("Event")).filter(|all| !all.is_empty())).await;
        let [event] = events.as_slice() else { panic!("expected one event, found {events:?}") };
        assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("EnrolmentRefused")));
        assert_eq!(event["involvedObject"]["uid"], *uid);
        assert_eq!(event["source"]["host"], "here");
    }
}

/// What the pod says of its being served.
fn note(api: &Harness) -> Option<String> {
    let web = api.get("Pod", "shop", "web").unwrap();
    web["metadata"]["annotations"]["sidestep.io/status"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_served_says_so_and_only_that_pod() {
    let api = Harness::new();
    let web = api.put(pod("web", "here", "10.0.0.1"));
    let uid = web["metadata"]["uid"].as_str().unwrap().to_owned();
    let feed = feed(&api).await;
    let enrolled = |uid: &str, enrolled| News::Enrolled {
        pod: PodKey::new("shop", "web"),
        uid: uid.to_owned(),
        enrolled,
    };
    feed.tell(enrolled(&uid, true));
    assert_eq!(eventually("it says so", || note(&api)).await, "enrolled");
    feed.tell(enrolled(&uid, false));
    eventually("it does not say so any more", || note(&api).is_none().then_some(())).await;
    // A pod that has the name by now, but is another.
    feed.tell(enrolled("00000000-0000-0000-0000-000000000000", true));
    feed.tell(refused(&uid));
    api.asked("/events", 1);
    assert_eq!(note(&api), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_that_was_taken_away_is_put_back_by_telling_it_again() {
    let api = Harness::new();
    let web = api.put(pod("web", "here", "10.0.0.1"));
    let uid = web["metadata"]["uid"].as_str().unwrap().to_owned();
    let feed = feed(&api).await;
    let mut pods = feed.pods();
    let shows = |says: bool| {
        move |pods: &Pods| {
            let web = pods.pods.get(&PodKey::new("shop", "web"));
            web.is_some_and(|web| web.annotations.contains_key("sidestep.io/status") == says)
        }
    };
    let news = News::Enrolled { pod: PodKey::new("shop", "web"), uid, enrolled: true };
    feed.tell(news.clone());
    until("it says so", &mut pods, shows(true)).await;
    api.put(web);
    until("it does not say so any more", &mut pods, shows(false)).await;
    feed.tell(news.clone());
    feed.tell(refused("u"));
    api.asked("/events", 1);
    assert_eq!(note(&api), None, "it was told already");
    feed.tell_again(news.clone());
    until("it says so again", &mut pods, shows(true)).await;
    feed.tell(refused("v"));
    api.asked("/events", 2);
    let before = writes(&api);
    feed.tell_again(news);
    feed.tell(refused("w"));
    api.asked("/events", 3);
    assert_eq!(writes(&api), before + 1, "what stands as it should is not written");
}

#[tokio::test(flavor = "multi_thread")]
async fn news_wait_while_the_server_is_away_and_the_newest_is_told() {
    let api = Harness::new();
    let web = api.put(pod("web", "here", "10.0.0.1"));
    let uid = web["metadata"]["uid"].as_str().unwrap().to_owned();
    let feed = feed(&api).await;
    api.fail(Some(Fault::Status(503)));
    let pod = PodKey::new("shop", "web");
    feed.tell(News::Enrolled { pod: pod.clone(), uid: uid.clone(), enrolled: false });
    feed.tell(refused(&uid));
    feed.tell(News::Enrolled { pod, uid, enrolled: true });
    tokio::time::sleep(Duration::from_millis(100)).await;
    api.fail(None);
    eventually("the newest is told", || {
        let web = api.get("Pod", "shop", "web").unwrap();
        (web["metadata"]["annotations"]["sidestep.io/status"] == "enrolled").then_some(())
    })
    .await;
    eventually("the event is told", || (api.all("Event").len() == 1).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_not_honoured_says_so_beside_what_others_say() {
    let api = Harness::new();
    let mut policy = json!({
        "kind": "AuthorizationPolicy",
        "metadata": { "name": "rule", "namespace": "shop" },
        "spec": { "action": "CUSTOM" },
        "status": { "conditions": [{ "type": "Reconciled", "status": "True" }] },
    });
    api.put(policy.clone());
    let feed = feed(&api).await;
    let key = ObjectKey {
        kind: "AuthorizationPolicy".to_owned(),
        namespace: "shop".to_owned(),
        name: "rule".to_owned(),
    };
    let tell = |generation, honoured: Result<(), &str>| {
        let honoured = honoured.map_err(str::to_owned);
        feed.tell(News::Condition { key: key.clone(), generation, honoured, permitted: None });
    };
    let conditions =
        || api.get("AuthorizationPolicy", "shop", "rule").unwrap()["status"]["conditions"].clone();
    tell(1, Ok(()));
    api.asked("/authorizationpolicies/rule", 1);
    tell(1, Err("CUSTOM is not known"));
    let told =
        eventually("the condition is there", || Some(conditions()).filter(|all| !all[1].is_null())).await;
    assert_eq!(told[0]["type"], "Reconciled");
    assert_eq!((&told[1]["type"], &told[1]["status"]), (&json!("sidestep.io/Honoured"), &json!("False")));
    assert_eq!(
        (&told[1]["message"], &told[1]["observedGeneration"]),
        (&json!("CUSTOM is not known"), &json!(1))
    );
    // Another node says the same: nothing is written.
    let other = super::feed(&api).await;
    let before = writes(&api);
    other.tell(News::Condition {
        key: key.clone(),
        generation: 1,
        honoured: Err("CUSTOM is not known".to_owned()),
        permitted: None,
    });
    other.tell(refused("u"));
    api.asked("/events", 1);
    assert_eq!(writes(&api), before + 1);
    // It is mended; what is said of what it was is not written any more.
    policy["spec"] = json!({ "action": "DENY" });
    policy["status"]["conditions"] = told;
    api.put(policy);
    tell(1, Err("something else"));
    tell(2, Ok(()));
    let told =
        eventually("it is honoured", || Some(conditions()).filter(|all| all[1]["status"] == "True")).await;
    assert_eq!(told.as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_told_what_becomes_of_it_for_each_service() {
    let api = Harness::new();
    let service = |name: &str| json!({ "kind": "Service", "group": "", "name": name });
    let theirs =
        json!({ "parentRef": { "name": "gateway" }, "controllerName": "other.io/x", "conditions": [] });
    api.put(json!({
        "kind": "HTTPRoute",
        "metadata": { "name": "split", "namespace": "shop" },
        "spec": { "parentRefs": [service("web"), { "name": "gateway" }, service("db")] },
        "status": { "parents": [theirs] },
    }));
    let feed = feed(&api).await;
    let key =
        ObjectKey { kind: "HTTPRoute".to_owned(), namespace: "shop".to_owned(), name: "split".to_owned() };
    feed.tell(News::Condition { key, generation: 1, honoured: Ok(()), permitted: Some(Ok(())) });
    let parents = eventually("it is told", || {
        let parents = api.get("HTTPRoute", "shop", "split").unwrap()["status"]["parents"].clone();
        (parents.as_array().unwrap().len() == 3).then_some(parents)
    })
    .await;
    assert_eq!(parents[0], theirs);
    for (index, name) in [(1, "web"), (2, "db")] {
        assert_eq!(parents[index]["parentRef"], service(name));
        assert_eq!(parents[index]["controllerName"], "sidestep.io/node");
        assert_eq!(parents[index]["conditions"][0]["type"], "Accepted");
        assert_eq!(parents[index]["conditions"][0]["status"], "True");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_leads_where_it_may_not_says_so_until_it_may() {
    let api = Harness::new();
    api.put(json!({
        "kind": "HTTPRoute",
        "metadata": { "name": "away", "namespace": "shop" },
        "spec": { "parentRefs": [{ "kind": "Service", "group": "", "name": "web" }] },
    }));
    let feed = feed(&api).await;
    let key = ObjectKey::new("HTTPRoute", "shop", "away");
    let tell = |permitted| {
        feed.tell(News::Condition { key: key.clone(), generation: 1, honoured: Ok(()), permitted });
    };
    let resolved = || {
        let route = api.get("HTTPRoute", "shop", "away").unwrap();
        let all = route["status"]["parents"][0]["conditions"].as_array().cloned().unwrap_or_default();
        let mine = all.iter().find(|condition| condition["type"] == "ResolvedRefs").cloned();
        (all.len(), mine.map(|mine| format!("{} {}", mine["status"], mine["reason"]).replace('"', "")))
    };
    // Of what was never wrong nothing is said.
    tell(Some(Ok(())));
    eventually("it is accepted", || (resolved() == (1, None)).then_some(())).await;
    let said = |what: &str| (2, Some(what.to_owned()));
    tell(Some(Err("no ReferenceGrant for ledger.bank.svc".to_owned())));
    eventually("it says so", || (resolved() == said("False RefNotPermitted")).then_some(())).await;
    let writes_so_far = writes(&api);
    // Whoever does not know leaves what others say.
    tell(None);
    feed.tell(refused("u"));
    api.asked("/events", 1);
    eventually("the event is told", || (writes(&api) == writes_so_far + 1).then_some(())).await;
    assert_eq!(resolved(), said("False RefNotPermitted"));
    tell(Some(Ok(())));
    eventually("it may", || (resolved() == said("True ResolvedRefs")).then_some(())).await;
}
