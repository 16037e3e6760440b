//! What the feed makes of a server that is away, slow, silent, forgetful or wrong.

use sidestep_tests::api::Fault;

use super::*;
use crate::model::PodKey;

fn has(name: &str) -> impl Fn(&crate::model::Pods) -> bool {
    let key = PodKey::new("shop", name);
    move |pods| pods.pods.contains_key(&key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_at_the_start_is_found_when_it_comes() {
    let api = Harness::new();
    api.put(pod("web", "here", "10.0.0.1"));
    api.down();
    let feed = feed(&api).await;
    let mut pods = feed.pods();
    tokio::time::timeout(Duration::from_millis(300), pods.changed()).await.expect_err("nothing to tell yet");
    assert!(!feed.pods().borrow().listed && !feed.reachable());
    api.up();
    until("the pods are listed", &mut pods, has("web")).await;
    assert!(feed.reachable());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_known_stays_in_force_while_the_server_is_down() {
    let api = Harness::new();
    api.put(pod("web", "here", "10.0.0.1"));
    let feed = feed(&api).await;
    let mut pods = feed.pods();
    until("the pods are listed", &mut pods, has("web")).await;
    api.down();
    api.delete("Pod", "shop", "web");
    api.put(pod("new", "here", "10.0.0.2"));
    tokio::time::timeout(patience(), async {
        while feed.reachable() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("it is noticed");
    assert!(has("web")(&feed.pods().borrow()));
    api.up();
    let now = until("the new one is seen", &mut pods, has("new")).await;
    assert!(!has("web")(&now));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_says_nothing_any_more_is_begun_again() {
    let api = Harness::new();
    api.put(pod("web", "here", "10.0.0.1"));
    let feed = feed(&api).await;
    let mut pods = feed.pods();
    until("the pods are listed", &mut pods, has("web")).await;
    api.fail(Some(Fault::Stall));
    // The watch that is under way stalls as soon as something happens.
    api.put(pod("new", "here", "10.0.0.2"));
    tokio::time::timeout(Duration::from_millis(500), pods.wait_for(|pods| has("new")(pods)))
        .await
        .expect_err("nothing comes");
    api.fail(None);
    assert!(!has("new")(&feed.pods().borrow()));
    until("the change is seen", &mut pods, has("new")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_forgotten_versions_is_weathered_without_a_storm_of_questions() {
    let api = Harness::new();
    api.put(pod("web", "here", "10.0.0.1"));
    let feed = feed(&api).await;
    let mut pods = feed.pods();
    until("the pods are listed", &mut pods, has("web")).await;
    api.fail(Some(Fault::Gone));
    let before = api.requests().len();
    api.put(pod("second", "here", "10.0.0.2"));
    until("lists are enough to see changes", &mut pods, has("second")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = api.requests().len() - before;
    assert!(asked < 120, "{asked} questions in a second");
    api.fail(None);
    api.put(pod("third", "here", "10.0.0.3"));
    until("watches work again", &mut pods, has("third")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_forgotten_while_nobody_looked_is_no_gap() {
    let api = Harness::new();
    api.put(pod("web", "here", "10.0.0.1"));
    let feed = feed(&api).await;
    let mut pods = feed.pods();
    until("the pods are listed", &mut pods, has("web")).await;
    api.down();
    api.delete("Pod", "shop", "web");
    api.put(pod("new", "here", "10.0.0.2"));
    api.compact();
    api.up();
    let now = until("the new one is seen", &mut pods, has("new")).await;
    assert!(!has("web")(&now));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_are_made_again() {
    let api = Harness::new();
    api.put(pod("web", "here", "10.0.0.1"));
    let feed = feed(&api).await;
    let mut pods = feed.pods();
    until("the pods are listed", &mut pods, has("web")).await;
    for round in 0..5 {
        api.disconnect();
        let name = format!("round-{round}");
        api.put(pod(&name, "here", "10.0.0.2"));
        until("the change is seen", &mut pods, has(&name)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_is_asked_again_whatever_it_answers() {
    for code in [500, 503, 429, 403, 401] {
        let api = Harness::new();
        api.put(pod("web", "here", "10.0.0.1"));
        api.fail(Some(Fault::Status(code)));
        let feed = feed(&api).await;
        api.asked("/api/v1/pods", 3);
        assert!(!feed.pods().borrow().listed);
        api.fail(None);
        until(&format!("it answers after {code}"), &mut feed.pods(), has("web")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_is_waited_for_and_garbage_is_skipped() {
    let api = Harness::new();
    api.slow(Duration::from_millis(300));
    api.put(pod("web", "here", "10.0.0.1"));
    let feed = feed(&api).await;
    let mut pods = feed.pods();
    until("the pods are listed", &mut pods, has("web")).await;
    api.slow(Duration::ZERO);
    api.fail(Some(Fault::Garbage));
    api.disconnect();
    api.put(pod("new", "here", "10.0.0.2"));
    until("the change is seen", &mut pods, has("new")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_at_the_start_is_said_at_once() {
    let api = Harness::new();
    let mut settings = settings(&api);
    settings.api = Api::Kubeconfig("/nonexistent".into());
    let error = Feed::start(settings).await.unwrap_err();
    assert!(format!("{error:#}").contains("/nonexistent"), "{error:#}");
}
