//! Endpoints that are left out, and requests that are turned away.

use super::*;
use crate::model::{Flag, Flags};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn an_endpoint_that_keeps_failing_is_left_out_and_returns() {
    let wanted = vec![("web", vec![("bad", manner(|_, _| Reply::Say(500))), ("well", good())])];
    let policy =
        "outlierDetection: { consecutive5xxErrors: 3, baseEjectionTime: 2s, maxEjectionPercent: 50 }";
    let shop = Shop::open(wanted, &destination(policy), "").await;
    let mut client = shop.client().await;
    let mut asked = async || ask(&mut client, GET).await.status;
    let mut failed = 0;
    while failed < 3 {
        failed += usize::from(asked().await == 500);
    }
    let before = shop.app("bad").asked();
    for _ in 0..30 {
        assert_eq!(asked().await, 200);
    }
    assert_eq!((before, shop.app("bad").asked()), (3, 3), "it is left out");
    within(async { while asked().await == 200 {} }).await;
    assert_eq!(shop.app("bad").asked(), 4, "it is asked again");
}

#[tokio::test]
async fn when_all_endpoints_are_left_out_there_is_nobody_to_ask() {
    let wanted = vec![("web", vec![("bad", manner(|_, _| Reply::Say(500)))])];
    let policy =
        "outlierDetection: { consecutive5xxErrors: 1, baseEjectionTime: 60s, maxEjectionPercent: 100 }";
    let shop = Shop::open(wanted, &destination(policy), "").await;
    assert_eq!(shop.ask(GET).await.status, 500);
    assert_eq!(shop.told().await.flags, Flags::default());
    assert_eq!(shop.ask(GET).await.status, 503);
    let told = shop.told().await;
    assert!(told.flags.has(Flag::NoHealthyUpstream) && told.attempts == 0, "{}", told.flags);
}

#[tokio::test]
async fn more_requests_than_a_limit_allows_are_turned_away_or_wait() {
    let slow = || vec![("web", vec![("web", manner(|_, _| Reply::Late(Duration::from_millis(500))))])];
    for (policy, answered, turned_away) in [
        ("connectionPool: { http: { http2MaxRequests: 2 } }", 2, 3),
        ("connectionPool: { tcp: { maxConnections: 1 }, http: { http1MaxPendingRequests: 2 } }", 3, 2),
        ("connectionPool: { tcp: { maxConnections: 1 } }", 5, 0),
    ] {
        let shop = Shop::open(slow(), &destination(policy), "").await;
        let (a, b, c, d, e) =
            tokio::join!(shop.ask(GET), shop.ask(GET), shop.ask(GET), shop.ask(GET), shop.ask(GET));
        let statuses = [a, b, c, d, e].map(|answered| answered.status);
        let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
        assert_eq!((count(200), count(503)), (answered, turned_away), "{policy}: {statuses:?}");
        let told = shop.exchanges(5).await;
        let overflown = told.iter().filter(|exchange| exchange.flags.has(Flag::Overflow)).count();
        assert_eq!(overflown, turned_away, "{policy}");
        let most = shop.app("web").busiest.load(Ordering::SeqCst);
        assert_eq!(most, if policy.contains("maxConnections") { 1 } else { 2 }, "{policy}");
        // What is over makes room.
        assert_eq!(shop.ask(GET).await.status, 200, "{policy}");
    }
}

#[tokio::test]
async fn more_requests_than_a_time_allows_are_turned_away() {
    let wanted = || vec![("web", vec![("web", good())])];
    let rules = "  - matches: [ { path: { value: /a } } ]\n    backendRefs: [ { name: web, port: 80 } ]\n  \
                 - backendRefs: [ { name: web, port: 80 } ]";
    let limit = |of: &str| format!("rate-limits: [ {{ {of}, requests: 2, per: 1h }} ]\n");
    let by_service = limit("service: web.shop.svc.cluster.local");
    for (limits, resources) in
        [(&by_service, String::new()), (&limit("route: shop/web/0"), route("web", rules))]
    {
        let mut shop = Shop::open(wanted(), &resources, limits).await;
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(shop.get("/a").await.status);
        }
        assert_eq!(statuses, [200, 200, 429, 429], "{limits}");
        assert!(shop.exchanges(4).await[3].flags.has(Flag::RateLimited));
        // A reload gives nobody more.
        shop.reload(&resources);
        assert_eq!(shop.get("/a").await.status, 429, "{limits}");
        let other = shop.get("/b").await.status;
        assert_eq!(other, if resources.is_empty() { 429 } else { 200 }, "{limits}");
    }
}

#[tokio::test]
async fn what_comes_in_is_held_to_its_own_limits() {
    let web = Web::start(Entry::Inbound).await;
    let port = web.listener.local_addr().unwrap().port();
    let text = format!("rate-limits:\n- {{ inbound: {port}, by: source-identity, requests: 1, per: 1h }}\n");
    let config = Config::parse(std::path::Path::new("f"), &text).unwrap();
    let rate_limits = config.rate_limits;
    web.bench.instance.set_routing(Routing { rate_limits, ..Routing::default() });
    let (mut client, mut upstream, _) = web.ask(GET).await;
    upstream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 204"));
    // Without an identity all share one bucket, whatever their addresses.
    let mut other = web.bench.connect().await;
    other.write_all(GET.as_bytes()).await.unwrap();
    assert!(head(&mut other).await.starts_with("HTTP/1.1 429"));
    assert!(web.exchanges(2).await[1].flags.has(Flag::RateLimited));
}

#[tokio::test]
async fn connections_are_kept_as_their_service_wants() {
    for (policy, requests, connections) in [
        ("connectionPool: { http: { maxRequestsPerConnection: 2 } }", 6, 3),
        ("connectionPool: { http: { maxRequestsPerConnection: 1 } }", 3, 3),
        ("connectionPool: { http: { idleTimeout: 1ms } }", 3, 3),
        ("connectionPool: { http: { idleTimeout: 1h, maxRequestsPerConnection: 0 } }", 6, 1),
    ] {
        let shop = Shop::open(vec![("web", vec![("web", good())])], &destination(policy), "").await;
        let mut client = shop.client().await;
        for _ in 0..requests {
            assert_eq!(ask(&mut client, GET).await.status, 200, "{policy}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(shop.app("web").connections.load(Ordering::SeqCst), connections, "{policy}");
    }
}
