//! Routes by service, and the rule that a request meets, against a naive reading of the specification.

use std::cmp::Reverse;

use http::{HeaderMap, Method};
use proptest::prelude::*;

use crate::model::{Directory, DirectoryBuilder, Service, ServicePort};
use crate::routing::*;

/// A request as a line: method, path with query, and fields as `name: value` behind it.
pub(super) struct Asked {
    method: Method,
    path: String,
    query: Option<String>,
    host: String,
    headers: HeaderMap,
}

impl Asked {
    pub(super) fn new(method: &str, target: &str, headers: &[(&str, &str)]) -> Self {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                http::HeaderName::try_from(*name).unwrap(),
                http::HeaderValue::try_from(*value).unwrap(),
            );
        }
        Self {
            method: method.parse().unwrap(),
            path: path.to_owned(),
            query,
            host: "web.shop:80".to_owned(),
            headers: map,
        }
    }

    pub(super) fn of_host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    pub(super) fn view(&self) -> RequestView<'_> {
        RequestView {
            method: &self.method,
            authority: Some(&self.host),
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
        }
    }
}

pub(super) fn prefix(path: &str) -> Match {
    let path = path_value(path).unwrap();
    Match { path: PathMatch::Prefix(path.trim_end_matches('/').to_owned()), ..Match::default() }
}

pub(super) fn exact(path: &str) -> Match {
    Match { path: PathMatch::Exact(path_value(path).unwrap()), ..Match::default() }
}

pub(super) fn rule(matches: Vec<Match>) -> Rule {
    Rule { matches, ..Rule::default() }
}

pub(super) fn route(name: &str, rules: Vec<Rule>) -> HttpRoute {
    HttpRoute {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        created: None,
        parents: vec![Parent { service: ServiceName::new("web", "shop"), port: None }],
        hostnames: Vec::new(),
        rules,
    }
}

/// The label of the rule that a request to web.shop:80 meets.
pub(super) fn met(routes: &[HttpRoute], asked: &Asked) -> Option<String> {
    let routes = Routes::new(routes, &Directory::default(), None);
    let table = routes.find("web.shop.svc.cluster.local", 80)?;
    table.choose(&asked.view()).map(|chosen| chosen.label.to_string())
}

fn get(target: &str) -> Asked {
    Asked::new("GET", target, &[])
}

#[test]
fn a_service_has_the_routes_that_name_it_and_its_port() {
    let mut of_port = route("port", vec![rule(vec![prefix("/p")])]);
    of_port.parents[0].port = Some(8080);
    let of_all = route("all", vec![rule(vec![prefix("/")])]);
    let routes = Routes::new(&[of_all, of_port.clone()], &Directory::default(), None);
    let label = |hostname: &str, port: u16, path: &str| {
        let asked = get(path);
        routes.find(hostname, port)?.choose(&asked.view()).map(|chosen| chosen.label.to_string())
    };
    assert_eq!(label("web.shop.svc.cluster.local", 80, "/p").as_deref(), Some("shop/all/0"));
    assert_eq!(label("web.shop.svc.cluster.local", 8080, "/p").as_deref(), Some("shop/port/0"));
    assert_eq!(label("web.shop.svc.cluster.local", 8080, "/q").as_deref(), Some("shop/all/0"));
    assert_eq!(label("web.other.svc.cluster.local", 80, "/p"), None);
    let routes = Routes::new(&[of_port], &Directory::default(), None);
    assert!(routes.find("web.shop.svc", 80).is_none(), "no route is for that port");
}

#[test]
fn a_route_of_another_namespace_is_for_its_own_workloads_and_stands_in_front() {
    let mut consumer = route("mine", vec![rule(vec![prefix("/")])]);
    consumer.namespace = "front".to_owned();
    let producer = route("theirs", vec![rule(vec![exact("/a")])]);
    let both = [producer, consumer];
    for (own, label) in
        [(Some("front"), "front/mine/0"), (Some("shop"), "shop/theirs/0"), (None, "shop/theirs/0")]
    {
        let routes = Routes::new(&both, &Directory::default(), own);
        let asked = get("/a");
        let chosen = routes.find("web.shop.svc", 80).unwrap().choose(&asked.view()).unwrap();
        assert_eq!(&**chosen.label, label, "for {own:?}");
    }
}

#[test]
fn a_backend_is_found_in_the_directory_by_service_and_port() {
    let mut builder = DirectoryBuilder::default();
    builder
        .service(Service {
            hostname: "web-v2.shop.svc.cluster.local".to_owned(),
            addresses: vec!["10.96.0.1".parse().unwrap()],
            ports: vec![ServicePort { port: 80, target_port: 8080, protocol: None }],
            endpoints: Vec::new(),
        })
        .unwrap();
    let routes = Routes::new(&[], &builder.build(), None);
    let found = |name: &str, port| {
        routes
            .resolve(&ServiceRef { service: ServiceName::new(name, "shop"), port })
            .map(|(_, port)| port.target_port)
    };
    assert_eq!(found("web-v2", 80), Some(8080));
    assert_eq!(found("web-v2", 81), None);
    assert_eq!(found("web-v3", 80), None);
}

#[test]
fn weights_share_requests_out() {
    let backend = |name: &str, weight| Backend {
        to: Backing::Service(ServiceRef { service: ServiceName::new(name, "shop"), port: 80 }),
        weight,
        filters: Filters::default(),
    };
    let shares = |weights: [u32; 3]| {
        let backends: Vec<_> =
            ["a", "b", "c"].into_iter().zip(weights).map(|(name, weight)| backend(name, weight)).collect();
        let rule = Rule { backends: backends.clone(), ..Rule::default() };
        let mut counts = [0; 3];
        for step in 0..1_000_u64 {
            let chosen = rule.backend(u64::MAX / 1_000 * step + u64::MAX / 2_000)?;
            counts[backends.iter().position(|backend| backend == chosen).unwrap()] += 1;
        }
        Some(counts)
    };
    assert_eq!(shares([1, 1, 2]), Some([250, 250, 500]));
    assert_eq!(shares([0, 9, 1]), Some([0, 900, 100]));
    assert_eq!(shares([1_000_000, 0, 0]), Some([1_000, 0, 0]));
    assert_eq!(shares([0, 0, 0]), None);
    assert!(Rule::default().backend(0).is_none());
    let all = Rule { backends: vec![backend("a", 3), backend("b", 1)], ..Rule::default() };
    assert!(all.backend(0).is_some() && all.backend(u64::MAX).is_some());
}

/// What the Gateway API says, word by word and without an order made in advance.
fn naive<'a>(routes: &'a [HttpRoute], request: &RequestView<'_>) -> Option<(&'a str, usize)> {
    let segments = |path: &str| path.split('/').skip(1).map(str::to_owned).collect::<Vec<_>>();
    let path_holds = |path: &PathMatch| match path {
        PathMatch::Exact(exact) => exact == request.path,
        PathMatch::Prefix(prefix) => {
            let (wanted, found) = (segments(prefix), segments(request.path));
            wanted.len() <= found.len() && found[..wanted.len()] == wanted
        }
    };
    let mut candidates = Vec::new();
    for route in routes {
        for (number, rule) in route.rules.iter().enumerate() {
            for matching in &rule.matches {
                if path_holds(&matching.path)
                    && matching.method.as_ref().is_none_or(|it| it == request.method)
                {
                    let (exact, length) = match &matching.path {
                        PathMatch::Exact(path) => (true, path.len()),
                        PathMatch::Prefix(path) => (false, path.len()),
                    };
                    let key = (
                        Reverse(exact),
                        Reverse(length),
                        matching.method.is_none(),
                        route.created,
                        &route.name,
                        number,
                    );
                    candidates.push((key, (route.name.as_str(), number)));
                }
            }
        }
    }
    candidates.into_iter().min_by_key(|(key, _)| *key).map(|(_, found)| found)
}

proptest! {
    #[test]
    fn the_table_chooses_what_the_specification_says(
        written in prop::collection::vec(
            (prop::collection::vec((any::<bool>(), "(/[ab]{1,2}){1,3}", 0..3_u8), 1..4), prop::option::of(0..3_u64)),
            1..5,
        ),
        path in "(/[ab]{1,2}){0,4}/?",
        post in any::<bool>(),
    ) {
        let routes: Vec<HttpRoute> = written.iter().enumerate().map(|(index, (rules, created))| {
            let rules = rules.iter().map(|(is_exact, path, method)| {
                let matching = if *is_exact { exact(path) } else { prefix(path) };
                let method = [None, Some(Method::GET), Some(Method::POST)][usize::from(*method)].clone();
                rule(vec![Match { method, ..matching }])
            });
            HttpRoute { created: *created, ..route(&format!("r{index}"), rules.collect()) }
        }).collect();
        let path = if path.is_empty() { "/".to_owned() } else { path };
        let asked = Asked::new(if post { "POST" } else { "GET" }, &path, &[]);
        let expected = naive(&routes, &asked.view()).map(|(name, number)| format!("shop/{name}/{number}"));
        prop_assert_eq!(met(&routes, &asked), expected);
    }
}
