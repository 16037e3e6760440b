//! What a decision costs, with few policies and with many.
//!
//! `cargo bench -p sidestep --bench decide`. Promised: at most 1 µs for a request among 100 policies that look into requests,
//! and 5 µs among 10,000; a configuration of 10,000 is made ready within 60 ms.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue};
use sidestep::model::Identity;
use sidestep::policy::{
    Action, Asked, Authorization, AuthorizationPolicy, AuthorizationRule, Call, Condition, Content, Match,
    Operation, PathPattern, Pattern, Source, Subject,
};

criterion_group!(benches, requests, connections, preparation);
criterion_main!(benches);

/// How many policies.
const COUNTS: [usize; 2] = [100, 10_000];

/// How the policies of a mesh look.
#[derive(Clone, Copy)]
enum Shape {
    /// Each about a caller and a path of its own; one in ten denies.
    Apart,
    /// Every caller of a hundred with every path of a hundred: whatever is looked up, a hundred rules are found.
    Grid,
    /// All for one namespace and one method, with a header, a template or a host to tell them apart.
    Alike,
}

const SHAPES: [(&str, Shape); 3] = [("apart", Shape::Apart), ("grid", Shape::Grid), ("alike", Shape::Alike)];

fn requests(criterion: &mut Criterion) {
    for (name, shape) in SHAPES {
        let mut group = criterion.benchmark_group(format!("request, {name}"));
        for count in COUNTS {
            let held = held(&policies(shape, count));
            let headers = headers(count / 2);
            let asked = Request::of(shape, count / 2);
            let call = |path| Asked { method: "GET", host: Some(&asked.host), path, headers: &headers };
            for (name, path) in [("matched", &*asked.path), ("unmatched", "/somewhere/else/altogether")] {
                let call = Call {
                    source: Some(&asked.source),
                    client: IpAddr::from([10, 1, 2, 3]),
                    destination: SocketAddr::from(([10, 0, 0, 9], 8080)),
                    content: Content::Http(call(path)),
                };
                group.bench_with_input(BenchmarkId::new(name, count), &call, |bencher, call| {
                    bencher.iter(|| held.decide(black_box(call)));
                });
            }
        }
        group.finish();
    }
}

fn connections(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("connection");
    for (name, shape) in SHAPES {
        for count in COUNTS {
            let held = held(&policies(shape, count));
            let source = Request::of(shape, count / 2).source;
            let destination = SocketAddr::from(([10, 0, 0, 9], 8080));
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                let client = IpAddr::from([10, 1, 2, 3]);
                bencher.iter(|| held.prospect(Some(black_box(&source)), client, destination));
            });
        }
    }
    group.finish();
}

fn preparation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("preparation");
    group.sample_size(20);
    for (name, shape) in SHAPES {
        let policies = policies(shape, 10_000);
        group.bench_function(name, |bencher| bencher.iter(|| held(black_box(&policies))));
        let held = held(&policies);
        group.bench_function(format!("{name}, for the kernel"), |bencher| {
            bencher.iter(|| held.plain_text_denials(&[]));
        });
    }
    group.finish();
}

/// What the policy of some number is about.
struct Request {
    source: Identity,
    path: String,
    host: String,
}

impl Request {
    fn of(shape: Shape, number: usize) -> Self {
        let (caller, path) = match shape {
            Shape::Apart => (number, number),
            Shape::Grid => (number % 100, number / 100),
            Shape::Alike => (0, number),
        };
        let source = format!("spiffe://cluster.local/ns/team-{}/sa/caller-{caller}", caller % 50);
        Self {
            source: source.parse().expect("an identity"),
            path: format!("/api/v1/things-{path}/7/parts"),
            host: format!("shop-{path}.example"),
        }
    }
}

/// What a browser sends along, and what policies ask for.
fn headers(number: usize) -> HeaderMap {
    let names = [
        "accept",
        "accept-encoding",
        "accept-language",
        "cookie",
        "user-agent",
        "x-request-id",
        "traceparent",
    ];
    let text = HeaderValue::from_static("something that is as long as such values are");
    let mut headers: HeaderMap =
        names.map(|name| (HeaderName::from_static(name), text.clone())).into_iter().collect();
    headers.insert("x-tenant", format!("tenant-{number}").parse().expect("a value"));
    headers
}

fn policies(shape: Shape, count: usize) -> Vec<AuthorizationPolicy> {
    let policy = |number| AuthorizationPolicy {
        namespace: "shop".to_owned(),
        name: format!("policy-{number}"),
        selector: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        action: if number % 10 == 9 { Action::Deny } else { Action::Allow },
        rules: vec![rule(shape, number)],
        dry_run: false,
    };
    (0..count).map(policy).collect()
}

fn rule(shape: Shape, number: usize) -> AuthorizationRule {
    let Request { source, path, host } = Request::of(shape, number);
    let one = |text: &str| Match { any: vec![Pattern::new(text)], none: Vec::new() };
    let path = match shape {
        Shape::Alike if number % 3 == 2 => path.replace("/7/", "/{*}/"),
        Shape::Alike => "/api/*".to_owned(),
        Shape::Apart | Shape::Grid => path.replace("7/parts", "*"),
    };
    let paths = Match { any: vec![PathPattern::new(&path).expect("a pattern")], none: Vec::new() };
    let to = Operation { methods: one("GET"), paths, ..Operation::default() };
    let from = match shape {
        Shape::Apart | Shape::Grid => Source { principals: one(source.principal()), ..Source::default() },
        Shape::Alike => Source { namespaces: one(source.namespace()), ..Source::default() },
    };
    let mut rule = AuthorizationRule { from: vec![from], to: vec![to], when: Vec::new() };
    if let Shape::Alike = shape {
        match number % 3 {
            0 => rule.to[0].hosts = one(&host),
            1 => {
                let name = HeaderName::from_static("x-tenant");
                rule.when.push(Condition::Header(name, one(&format!("tenant-{number}"))));
            }
            _ => {}
        }
    }
    rule
}

fn held(policies: &[AuthorizationPolicy]) -> Authorization {
    let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
    Authorization::of(
        policies,
        Subject {
            trust_domain: "cluster.local",
            namespace: "shop",
            labels: &labels,
            root_namespace: "istio-system",
        },
    )
}
