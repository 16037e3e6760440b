//! Which rule a request meets, and what that makes of it.

use std::time::Instant;

use super::*;
use crate::model::{Flag, Flags};

const THREE: [&str; 3] = ["web", "one", "two"];

async fn three(resources: &str) -> Shop {
    Shop::open(THREE.into_iter().map(|name| (name, vec![(name, good())])).collect(), resources, "").await
}

#[tokio::test]
async fn every_kind_of_match_leads_to_its_backend() {
    let rules = "
  - matches: [ { path: { type: Exact, value: /exact } }, { method: DELETE } ]
    backendRefs: [ { name: one, port: 80 } ]
  - matches: [ { path: { value: /below } }, { headers: [ { name: Version, value: two } ] }, { queryParams: [ { name: v, value: \"2\" } ] } ]
    backendRefs: [ { name: two, port: 80 } ]
  - matches: [ { path: { value: /web } } ]
    backendRefs: [ { name: web, port: 80 } ]";
    let shop = three(&route("web", rules)).await;
    for (request, app, rule) in [
        ("GET /exact", "one", 0),
        ("GET /x/../exact", "one", 0),
        ("DELETE /any", "one", 0),
        ("GET /below/x", "two", 1),
        ("GET /any?a=b&v=2", "two", 1),
        ("GET /web", "web", 2),
        ("GET /web/%2e./below", "two", 1),
    ] {
        let answered = shop.ask(&format!("{request} HTTP/1.1\r\nHost: web.shop\r\n\r\n")).await;
        assert_eq!((answered.status, &*answered.body), (200, app), "{request}");
        let told = shop.told().await;
        assert_eq!(told.route.as_deref(), Some(&*format!("shop/web/{rule}")), "{request}");
        assert_eq!(told.service.unwrap().hostname, "web.shop.svc.cluster.local");
        assert_eq!((told.attempts, told.flags), (1, Flags::default()));
        // What was matched in another form is forwarded as it came.
        assert!(shop.app(app).last().head.starts_with(&format!("{request} HTTP/1.1\r\n")), "{request}");
    }
    let by_header = "GET / HTTP/1.1\r\nHost: web.shop\r\nversion: one\r\nVERSION: two\r\n\r\n";
    assert_eq!(shop.ask(by_header).await.body, "two");
}

#[tokio::test]
async fn what_meets_no_rule_or_leads_nowhere_is_answered_by_ourselves() {
    let rules = "
  - matches: [ { path: { value: /nowhere } } ]
    backendRefs: [ { name: unknown, port: 80 } ]
  - matches: [ { path: { value: /bucket } } ]
    backendRefs: [ { name: dump, kind: Bucket, group: storage.example } ]
  - matches: [ { path: { value: /weightless } } ]
    backendRefs: [ { name: web, port: 80, weight: 0 } ]
  - matches: [ { path: { value: /none } } ]";
    let shop = three(&route("web", rules)).await;
    for (target, status, flag) in [
        ("/other", 404, Flag::NoRoute),
        ("/nowhere", 500, Flag::NoRoute),
        ("/bucket", 500, Flag::NoRoute),
        ("/weightless", 500, Flag::NoRoute),
        ("/none", 500, Flag::NoRoute),
        ("/none%00", 400, Flag::DownstreamProtocol),
        ("/%zz", 400, Flag::DownstreamProtocol),
    ] {
        let answered = shop.get(target).await;
        assert_eq!(answered.status, status, "{target}: {}", answered.body);
        let told = shop.told().await;
        assert!(told.flags.has(flag) && told.attempts == 0, "{target}: {}", told.flags);
    }
    assert_eq!(shop.apps.values().map(App::asked).sum::<usize>(), 0);
}

#[tokio::test]
async fn weights_share_requests_out() {
    let rules = "  - backendRefs: [ { name: one, port: 80, weight: 9 }, { name: two, port: 80, weight: 3 }, { name: web, port: 80, weight: 0 } ]";
    let shop = three(&route("web", rules)).await;
    let mut client = shop.client().await;
    for _ in 0..400 {
        assert_eq!(ask(&mut client, "GET / HTTP/1.1\r\nHost: web.shop\r\n\r\n").await.status, 200);
    }
    let two = shop.app("two").asked();
    assert_eq!(shop.app("one").asked() + two, 400);
    // 100 are expected; six standard deviations are 52.
    assert!((48..=152).contains(&two), "{two} of 400");
}

#[tokio::test]
async fn a_redirect_is_answered_and_a_rewrite_forwarded() {
    let rules = "
  - matches: [ { path: { value: /old } } ]
    filters: [ { type: RequestRedirect, requestRedirect: { scheme: https, hostname: new.example, statusCode: 301, path: { type: ReplacePrefixMatch, replacePrefixMatch: /new } } } ]
  - matches: [ { path: { value: /app } } ]
    filters:
    - { type: URLRewrite, urlRewrite: { hostname: one.internal, path: { type: ReplacePrefixMatch, replacePrefixMatch: /v1 } } }
    - { type: RequestHeaderModifier, requestHeaderModifier: { set: [ { name: x-set, value: new } ], add: [ { name: x-add, value: more } ], remove: [ x-gone ] } }
    - { type: ResponseHeaderModifier, responseHeaderModifier: { set: [ { name: x-by, value: rule } ], remove: [ x-app ] } }
    backendRefs:
    - name: one
      port: 80
      filters: [ { type: ResponseHeaderModifier, responseHeaderModifier: { add: [ { name: x-also, value: backend } ] } } ]";
    let shop = three(&route("web", rules)).await;
    let answered = shop.get("/old/x?q=1").await;
    assert_eq!(answered.status, 301);
    assert_eq!(field(&answered.head, "location"), Some("https://new.example/new/x?q=1"));
    assert_eq!((shop.told().await.flags, answered.body.len()), (Flags::default(), 0));

    let request =
        "GET /app//x?q=%2f HTTP/1.1\r\nHost: web.shop\r\nX-Gone: 1\r\nx-set: old\r\nx-add: first\r\n\r\n";
    let answered = shop.ask(request).await;
    assert_eq!((answered.status, &*answered.body), (200, "one"));
    assert_eq!(field(&answered.head, "x-by"), Some("rule"));
    assert_eq!(field(&answered.head, "x-also"), Some("backend"));
    assert_eq!(field(&answered.head, "x-app"), None);
    let head = shop.app("one").last().head.to_ascii_lowercase();
    assert!(head.starts_with("get /v1//x?q=%2f http/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "host"), Some("one.internal"));
    assert!(
        head.contains("x-set: new\r\n")
            && head.contains("x-add: first\r\n")
            && head.contains("x-add: more\r\n"),
        "{head}"
    );
    assert!(!head.contains("x-gone") && !head.contains("x-set: old"), "{head}");
}

#[tokio::test]
async fn a_mirror_gets_a_copy_and_delays_nobody() {
    let rules = "
  - filters: [ { type: RequestMirror, requestMirror: { backendRef: { name: two, port: 80 } } } ]
    backendRefs: [ { name: one, port: 80 } ]";
    let slow = manner(|_, _| Reply::Late(Duration::from_secs(60)));
    let wanted =
        vec![("web", vec![("web", good())]), ("one", vec![("one", good())]), ("two", vec![("two", slow)])];
    let shop = Shop::open(wanted, &route("web", rules), "").await;
    let began = Instant::now();
    let post = "POST /a?b HTTP/1.1\r\nHost: web.shop\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(shop.ask(post).await.body, "one");
    assert!(began.elapsed() < Duration::from_secs(10));
    eventually(|| shop.app("two").asked() == 1).await;
    let (main, copy) = (shop.app("one").last(), shop.app("two").last());
    assert_eq!((&*main.body, &*copy.body), ("hello", "hello"));
    assert!(copy.head.starts_with("POST /a?b HTTP/1.1\r\n"), "{}", copy.head);
    let told = shop.told().await;
    assert_eq!((told.attempts, told.request_bytes), (1, 5));
    // A body that is longer than what is kept goes where it belongs, and nowhere else.
    let long = "x".repeat(200_000);
    let post =
        format!("POST /long HTTP/1.1\r\nHost: web.shop\r\nContent-Length: {}\r\n\r\n{long}", long.len());
    assert_eq!(shop.ask(&post).await.body, "one");
    assert_eq!(shop.app("one").last().body, long);
    assert_eq!(shop.get("/short").await.body, "one");
    eventually(|| shop.app("two").asked() == 2).await;
    assert!(shop.app("two").last().head.starts_with("GET /short "));
}

#[tokio::test]
async fn a_reload_that_breaks_one_resource_leaves_the_others_and_its_last_good_version() {
    let rules = |path: &str, backend: &str| {
        format!(
            "  - matches: [ {{ path: {{ value: {path} }} }} ]\n    backendRefs: [ {{ name: {backend}, port: 80 }} ]\n"
        )
    };
    let both = |one: &str, two: &str| {
        format!("{}---\n{}", route("one", &rules("/1", one)), route("two", &rules("/2", two)))
    };
    let mut shop = three(&both("one", "two")).await;
    assert_eq!((&*shop.get("/1").await.body, &*shop.get("/2").await.body), ("one", "two"));
    shop.reload(&both("\"No Name\", weight: lots", "web"));
    assert_eq!(shop.config.resources.rejected().len(), 1);
    assert_eq!((&*shop.get("/1").await.body, &*shop.get("/2").await.body), ("one", "web"));
    shop.reload(&route("two", &rules("/2", "two")));
    assert_eq!((shop.get("/1").await.status, &*shop.get("/2").await.body), (404, "two"));
}
