//! The cases of the Gateway API's conformance tests that apply to a proxy beside its client.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::choosing::{Asked, exact, met, prefix, route, rule};
use crate::routing::*;

fn with_headers(matching: Match, headers: &[(&'static str, &'static str)]) -> Match {
    let headers = headers
        .iter()
        .map(|(name, value)| (HeaderName::try_from(*name).unwrap(), HeaderValue::from_static(value)));
    Match { headers: headers.collect(), ..matching }
}

fn with_query(matching: Match, query: &[(&str, &str)]) -> Match {
    let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Match { query: query.collect(), ..matching }
}

fn check(routes: &[HttpRoute], cases: &[(Asked, Option<usize>)]) {
    for (asked, expected) in cases {
        let label = expected.map(|number| format!("shop/web/{number}"));
        assert_eq!(met(routes, asked), label, "{:?}", asked.view());
    }
}

fn get(target: &str) -> Asked {
    Asked::new("GET", target, &[])
}

#[test]
fn a_prefix_is_made_of_whole_segments() {
    let routes = [route(
        "web",
        vec![rule(vec![prefix("/foo")]), rule(vec![prefix("/bar/")]), rule(vec![exact("/baz")])],
    )];
    check(
        &routes,
        &[
            (get("/foo"), Some(0)),
            (get("/foo/"), Some(0)),
            (get("/foo/x"), Some(0)),
            (get("/foo//x"), Some(0)),
            (get("/foobar"), None),
            (get("/FOO"), None),
            (get("/x/foo"), None),
            (get("/bar"), Some(1)),
            (get("/bar/"), Some(1)),
            (get("/bars"), None),
            (get("/baz"), Some(2)),
            (get("/baz/"), None),
            (get("/baz/x"), None),
            (get("/Baz"), None),
            (get("/"), None),
            (get("/foo?bar"), Some(0)),
        ],
    );
    check(
        &[route("web", vec![rule(vec![Match::default()])])],
        &[(get("/"), Some(0)), (get("/x"), Some(0)), (get("*"), None)],
    );
}

#[test]
fn the_most_specific_match_wins_in_the_order_of_the_specification() {
    let routes = [route(
        "web",
        vec![
            rule(vec![prefix("/")]),
            rule(vec![prefix("/a")]),
            rule(vec![prefix("/a/b")]),
            rule(vec![exact("/a/b")]),
            rule(vec![Match { method: Some(Method::POST), ..prefix("/a") }]),
            rule(vec![with_headers(prefix("/a"), &[("x", "1")])]),
            rule(vec![with_headers(prefix("/a"), &[("x", "1"), ("y", "2")])]),
            rule(vec![with_query(prefix("/a"), &[("q", "1")])]),
            rule(vec![with_query(prefix("/a"), &[("q", "1"), ("r", "2")])]),
            rule(vec![with_query(with_headers(prefix("/a"), &[("x", "1")]), &[("q", "1")])]),
            rule(vec![with_headers(prefix("/a"), &[("x", "1")])]),
        ],
    )];
    check(
        &routes,
        &[
            (get("/z"), Some(0)),
            (get("/a"), Some(1)),
            (get("/a/b/c"), Some(2)),
            (get("/a/b"), Some(3)),
            (Asked::new("POST", "/a?q=1", &[("x", "1")]), Some(4)),
            (Asked::new("POST", "/a/b", &[("x", "1")]), Some(3)),
            (Asked::new("GET", "/a", &[("x", "1")]), Some(5)),
            (Asked::new("GET", "/a", &[("y", "2"), ("x", "1")]), Some(6)),
            (get("/a?q=1"), Some(7)),
            (get("/a?r=2&q=1"), Some(8)),
            (Asked::new("GET", "/a?q=1&r=2", &[("x", "1")]), Some(9)),
        ],
    );
}

#[test]
fn of_equal_matches_the_oldest_then_the_first_by_name_wins() {
    let rules = || vec![rule(vec![prefix("/")])];
    let dated = |name: &str, created| HttpRoute { created, ..route(name, rules()) };
    let winner = |routes: &[HttpRoute]| met(routes, &get("/")).unwrap();
    assert_eq!(winner(&[dated("a", Some(2)), dated("b", Some(1))]), "shop/b/0");
    assert_eq!(winner(&[dated("b", Some(1)), dated("a", Some(1))]), "shop/a/0");
    let namespaces = ["z", "y"].map(|namespace| {
        let mut one = dated("a", None);
        one.namespace = namespace.to_owned();
        one.parents[0].service = ServiceName::new("web", namespace);
        one
    });
    assert!(met(&namespaces, &get("/")).is_none(), "they are for other services");
}

#[test]
fn fields_are_compared_one_by_one_names_in_any_case() {
    let routes = [route("web", vec![rule(vec![with_headers(Match::default(), &[("version", "two")])])])];
    let asked = |headers: &[(&str, &str)]| Asked::new("GET", "/", headers);
    check(
        &routes,
        &[
            (asked(&[("Version", "two")]), Some(0)),
            (asked(&[("VERSION", "one"), ("version", "two")]), Some(0)),
            (asked(&[("version", "Two")]), None),
            (asked(&[("version", "one,two")]), None),
            (asked(&[("version", "twot")]), None),
            (asked(&[("versions", "two")]), None),
            (asked(&[]), None),
        ],
    );
    let by_host =
        [route("web", vec![rule(vec![with_headers(Match::default(), &[("host", "web.shop:80")])])])];
    check(&by_host, &[(get("/"), Some(0)), (get("/").of_host("other"), None)]);
}

#[test]
fn query_parameters_are_compared_by_their_first_value_without_escapes() {
    let routes = [route("web", vec![rule(vec![with_query(Match::default(), &[("animal", "big whale")])])])];
    check(
        &routes,
        &[
            (get("/?animal=big%20whale"), Some(0)),
            (get("/?a=b&%61nimal=big%20whale&c"), Some(0)),
            (get("/?animal=big%20whale&animal=dolphin"), Some(0)),
            (get("/?animal=dolphin&animal=big%20whale"), None),
            (get("/?animal=Big%20whale"), None),
            (get("/?ANIMAL=big%20whale"), None),
            (get("/?animal=big+whale"), None),
            (get("/?animal"), None),
            (get("/?animal=%ff%zz"), None),
            (get("/"), None),
        ],
    );
}

#[test]
fn hosts_count_before_everything_else() {
    let of = |name: &str, hosts: Vec<HostPattern>, matching: Match| HttpRoute {
        hostnames: hosts,
        ..route(name, vec![rule(vec![matching])])
    };
    let routes = [
        of("any", Vec::new(), exact("/a")),
        of("wide", vec![HostPattern::Suffix(".example.com".to_owned())], prefix("/")),
        of("narrow", vec![HostPattern::Suffix(".shop.example.com".to_owned())], prefix("/")),
        of("one", vec![HostPattern::Exact("very.shop.example.com".to_owned())], prefix("/")),
    ];
    for (host, name) in [
        ("web.shop", "any"),
        ("example.com", "any"),
        ("a.example.com", "wide"),
        ("a.b.example.com:8080", "wide"),
        ("a.shop.example.com", "narrow"),
        ("VERY.shop.Example.com.", "one"),
        ("[fd00::1]:80", "any"),
        ("notexample.com", "any"),
    ] {
        assert_eq!(met(&routes, &get("/a").of_host(host)).unwrap(), format!("shop/{name}/0"), "{host}");
    }
}

#[test]
fn fields_are_set_added_and_removed() {
    let pair = |name: &'static str, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let edit = HeaderEdit {
        set: vec![pair("x-set", "new"), pair("x-fresh", "1")],
        add: vec![pair("x-add", "more")],
        remove: vec![HeaderName::from_static("x-gone")],
    };
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-set", "a"),
        ("x-set", "b"),
        ("x-add", "first"),
        ("x-gone", "a"),
        ("x-gone", "b"),
        ("x-kept", "1"),
    ] {
        headers.append(name, HeaderValue::from_static(value));
    }
    edit.apply(&mut headers);
    let all =
        |name: &str| headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(all("x-set"), ["new"]);
    assert_eq!(all("x-fresh"), ["1"]);
    assert_eq!(all("x-add"), ["first", "more"]);
    assert!(all("x-gone").is_empty());
    assert_eq!(all("x-kept"), ["1"]);
}

#[test]
fn a_redirect_keeps_what_it_does_not_name() {
    let plain = Redirect { scheme: None, hostname: None, path: None, port: None, status: StatusCode::FOUND };
    let (full, part) = (PathEdit::Full("/new".to_owned()), PathEdit::Prefix("/new".to_owned()));
    for (redirect, dialled, expected) in [
        (plain.clone(), 80, "http://web.shop/old/x?q=1"),
        (plain.clone(), 8080, "http://web.shop:8080/old/x?q=1"),
        (
            Redirect { hostname: Some("example.org".to_owned()), ..plain.clone() },
            80,
            "http://example.org/old/x?q=1",
        ),
        (Redirect { scheme: Some(Scheme::Https), ..plain.clone() }, 8080, "https://web.shop/old/x?q=1"),
        (
            Redirect { scheme: Some(Scheme::Https), port: Some(443), ..plain.clone() },
            80,
            "https://web.shop/old/x?q=1",
        ),
        (
            Redirect { scheme: Some(Scheme::Https), port: Some(8443), ..plain.clone() },
            80,
            "https://web.shop:8443/old/x?q=1",
        ),
        (Redirect { port: Some(80), ..plain.clone() }, 8080, "http://web.shop/old/x?q=1"),
        (Redirect { path: Some(full), ..plain.clone() }, 80, "http://web.shop/new?q=1"),
        (Redirect { path: Some(part), ..plain.clone() }, 80, "http://web.shop/new/x?q=1"),
    ] {
        let location = redirect.location(&get("/old/x?q=1").view(), "/old", dialled);
        assert_eq!(location.as_deref(), Some(expected));
    }
    let asked = get("/");
    let nobody = RequestView { authority: None, ..asked.view() };
    assert_eq!(plain.location(&nobody, "", 80), None);
}

#[test]
fn a_share_of_requests_is_mirrored() {
    let count = |share: Share| {
        (0..10_000_u64).filter(|step| share.has(u64::MAX / 10_000 * step + u64::MAX / 20_000)).count()
    };
    assert_eq!(count(Share::ALL), 10_000);
    assert_eq!(count(Share { of: 0, all: 100 }), 0);
    assert_eq!(count(Share { of: 25, all: 100 }), 2_500);
    assert_eq!(count(Share { of: 1, all: 1_000 }), 10);
}

#[test]
fn what_no_path_may_be_is_refused() {
    for text in
        ["", "a", "/a//b", "/a/./b", "/a/../b", "/a%2fb", "/a%2Fb", "/a#b", "/a/..", "/a/.", "/%zz", "/a?b"]
    {
        assert!(path_value(text).is_err(), "{text:?}");
    }
    assert_eq!(path_value("/%41/b%20c").as_deref(), Ok("/A/b%20c"));
}
