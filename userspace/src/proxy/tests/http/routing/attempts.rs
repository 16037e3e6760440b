//! Attempts: how long each may take, and what follows one that failed.

use std::time::Instant;

use super::*;
use crate::model::{Flag, Flags};

const RULE: &str = "  - backendRefs: [ { name: web, port: 80 } ]\n";

/// One endpoint in that manner, behind a rule with these settings.
async fn one(settings: &str, behaving: Option<Manner>) -> Shop {
    let rules = format!("{RULE}    {settings}");
    Shop::open(vec![("web", vec![("web", behaving)])], &route("web", &rules), "").await
}

/// Does that to the first request and answers the others.
fn first(reply: Reply) -> Option<Manner> {
    manner(move |number, _| if number == 1 { reply } else { Reply::Say(200) })
}

#[tokio::test]
async fn an_answer_that_the_rule_names_is_followed_by_another_attempt() {
    let shop = one("retry: { codes: [ 503 ], attempts: 2, backoff: 1ms }", first(Reply::Say(503))).await;
    assert_eq!(shop.get("/").await.status, 200);
    let told = shop.told().await;
    assert_eq!((told.attempts, told.flags, told.answer.unwrap().status.as_u16()), (2, Flags::default(), 200));

    let shop =
        one("retry: { codes: [ 503 ], attempts: 2, backoff: 1ms }", manner(|_, _| Reply::Say(503))).await;
    assert_eq!(shop.get("/").await.status, 503);
    let told = shop.told().await;
    assert!(told.attempts == 3 && told.flags.has(Flag::RetriesExhausted), "{} {}", told.attempts, told.flags);

    let shop = one("retry: { codes: [ 502 ], attempts: 2 }", first(Reply::Say(503))).await;
    assert_eq!((shop.get("/").await.status, shop.told().await.attempts), (503, 1));
}

#[tokio::test]
async fn a_body_is_sent_again_if_it_is_short_enough_to_be_kept() {
    let shop = one(
        "retry: { codes: [ 503 ], attempts: 1, backoff: 1ms }",
        manner(|number, _| if number % 2 == 1 { Reply::Say(503) } else { Reply::Say(200) }),
    )
    .await;
    let short = "y".repeat(60_000);
    let post =
        |body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(shop.ask(&post(&short)).await.status, 200);
    let told = shop.told().await;
    assert_eq!((told.attempts, told.request_bytes), (2, 60_000));
    assert_eq!(shop.app("web").last().body, short);
    let long = "z".repeat(70_000);
    assert_eq!(shop.ask(&post(&long)).await.status, 503);
    assert_eq!(shop.told().await.attempts, 1);
}

#[tokio::test]
async fn what_may_have_been_heard_is_said_again_only_if_that_does_no_harm() {
    for (method, settings, status, attempts) in [
        ("GET", "", 200, 2),
        ("DELETE", "", 200, 2),
        ("POST", "", 502, 1),
        ("POST", "retry: { backoff: 1ms }", 200, 2),
        ("GET", "retry: { attempts: 0 }", 502, 1),
    ] {
        let shop = one(settings, first(Reply::Hang)).await;
        let answered = shop.ask(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!(answered.status, status, "{method} {settings}");
        let told = shop.told().await;
        assert_eq!(told.attempts, attempts, "{method} {settings}");
        assert_eq!(told.flags.has(Flag::UpstreamGone), status == 502, "{method} {settings}: {}", told.flags);
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_followed_by_one_that_is() {
    let wanted = vec![("web", vec![("gone", None), ("there", good())])];
    let shop = Shop::open(wanted, "", "").await;
    let mut attempts = 0;
    for _ in 0..20 {
        // Nothing of it was sent: what it asks for does not matter.
        assert_eq!(shop.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").await.body, "there");
        attempts += shop.told().await.attempts;
    }
    assert!((21..=40).contains(&attempts), "{attempts} attempts of 20 requests");
    assert_eq!(shop.app("there").asked(), 20);
}

#[tokio::test]
async fn repetitions_end_with_their_budget() {
    let shop =
        one("retry: { codes: [ 503 ], attempts: 1, backoff: 1ms }", manner(|_, _| Reply::Say(503))).await;
    let mut client = shop.client().await;
    for _ in 0..60 {
        assert_eq!(ask(&mut client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.status, 503);
    }
    let told = shop.exchanges(60).await;
    let repeated = told.iter().filter(|exchange| exchange.attempts == 2).count();
    // Three in a second, of ten seconds; a slow machine may have come to the eleventh.
    assert!((30..=40).contains(&repeated), "{repeated} of 60 were repeated");
    assert_eq!(shop.app("web").asked(), 60 + repeated);
    assert!(told.iter().all(|exchange| exchange.flags.has(Flag::RetriesExhausted)));
}

#[tokio::test]
async fn an_attempt_and_a_request_have_times_of_their_own() {
    let late = || first(Reply::Late(Duration::from_secs(60)));
    let shop = one(
        "timeouts: { request: 30s, backendRequest: 200ms }\n    retry: { attempts: 1, backoff: 1ms }",
        late(),
    )
    .await;
    assert_eq!(shop.get("/").await.status, 200);
    let told = shop.told().await;
    assert_eq!((told.attempts, told.flags), (2, Flags::default()));

    for settings in [
        "timeouts: { request: 300ms }",
        "timeouts: { backendRequest: 300ms }",
        "timeouts: { request: 300ms }\n    retry: { attempts: 5, backoff: 1ms }",
    ] {
        let shop = one(settings, late()).await;
        let began = Instant::now();
        assert_eq!(shop.get("/").await.status, 504, "{settings}");
        assert!(began.elapsed() < Duration::from_secs(15), "{settings}");
        let told = shop.told().await;
        assert!(told.flags.has(Flag::UpstreamTimeout) && told.attempts == 1, "{settings}: {}", told.flags);
    }
}
