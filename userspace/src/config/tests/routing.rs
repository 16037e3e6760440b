//! Resources that stand for themselves, and rate limits, as they are written.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{config, parse, refused};
use crate::config::{Config, load};
use crate::routing::{Backing, Limited, OutlierPolicy, Rate, RateLimit, ServiceName, SharedBy};

const DIRECTORY: &str = "services:\n- { hostname: web.shop.svc.cluster.local, addresses: [ 10.96.0.1 ], \
                         ports: [ { port: 80 } ], endpoints: [ 10.0.0.1 ] }\n";

fn route(name: &str, timeout: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: {name}, namespace: shop }}\nspec:\n  \
         parentRefs: [ {{ group: \"\", kind: Service, name: {name} }} ]\n  rules: [ {{ timeouts: {{ request: {timeout} }} }} ]\n"
    )
}

fn destination(host: &str, policy: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{ name: web, namespace: shop }}\nspec:\n  \
         host: {host}\n  trafficPolicy:\n{policy}"
    )
}

/// A configuration whose `routes:` has these files.
fn loaded(files: &[&str]) -> Config {
    let directory = tempfile::tempdir().expect("a directory");
    loaded_from(directory.path(), files)
}

fn loaded_from(directory: &Path, files: &[&str]) -> Config {
    let mut text = DIRECTORY.to_owned() + "routes:\n";
    for (index, file) in files.iter().enumerate() {
        let path = directory.join(format!("{index}.yaml"));
        fs::write(&path, file).expect("a file");
        text.push_str(&format!("- {}\n", path.display()));
    }
    let path = directory.join("sidestep.yaml");
    fs::write(&path, text).expect("a file");
    load(&path).unwrap_or_else(|error| panic!("{error}"))
}

fn names(config: &Config) -> Vec<String> {
    let mut names: Vec<String> = config.resources.routes().into_iter().map(|route| route.name).collect();
    names.sort();
    names
}

fn timeout(config: &Config, name: &str) -> Option<Duration> {
    let routes = config.resources.routes();
    routes.iter().find(|route| route.name == name).expect("the route").rules[0].timeouts.request
}

#[test]
fn routes_come_from_files_and_are_found_by_service() {
    let files = [format!("{}---\n{}", route("web", "1s"), route("api", "2s")), route("db", "3s")];
    let config = loaded(&[&files[0], &files[1]]);
    assert_eq!(names(&config), ["api", "db", "web"]);
    assert_eq!(config.resources.rejected(), []);
    let routes = config.routes();
    assert!(routes.find("web.shop.svc.cluster.local", 80).is_some());
    assert!(routes.find("other.shop.svc.cluster.local", 80).is_none());
    assert!(parse("routes: [ /does/not/exist.yaml ]\n").is_err());
}

#[test]
fn what_is_invalid_is_rejected_alone() {
    let bad = route("bad", "soon");
    let unreadable = "kind: [\n";
    let other = "apiVersion: v1\nkind: Secret\nmetadata: { name: a, namespace: b }\n";
    let files = [format!("{}---\n{bad}---\n{}", route("web", "1s"), route("api", "2s")), route("web", "9s")];
    let config = loaded(&[&files[0], unreadable, other, &files[1]]);
    assert_eq!(names(&config), ["api", "web"]);
    assert_eq!(timeout(&config, "web"), Some(Duration::from_secs(1)), "the first one counts");
    let rejected = config.resources.rejected();
    let keys: Vec<_> = rejected.iter().map(|it| it.key.as_ref().map(ToString::to_string)).collect();
    let key = |text: &str| Some(text.to_owned());
    assert_eq!(keys, [key("HTTPRoute shop/bad"), None, key("Secret b/a"), key("HTTPRoute shop/web")]);
    for (rejected, message) in rejected.iter().zip([
        "0.yaml:13:35: spec.rules[0].timeouts.request: expected a duration such as",
        "1.yaml:",
        "2.yaml:2:7: kind: expected one of HTTPRoute, DestinationRule, found \"Secret\"",
        "3.yaml:2:7: metadata: expected every resource once, found HTTPRoute shop/web again (the other is in ",
    ]) {
        assert!(rejected.message.contains(message) && !rejected.kept, "{}", rejected.message);
    }
}

#[test]
fn at_a_reload_the_last_good_version_stays_in_force() {
    let directory = tempfile::tempdir().expect("a directory");
    let both = |web: &str, api: &str| format!("{}---\n{}", route("web", web), route("api", api));
    let running = loaded_from(directory.path(), &[&both("1s", "2s")]);

    let one_bad = loaded_from(directory.path(), &[&both("soon", "3s")]).keeping(&running);
    assert_eq!(timeout(&one_bad, "web"), Some(Duration::from_secs(1)), "its last good version");
    assert_eq!(timeout(&one_bad, "api"), Some(Duration::from_secs(3)), "the others change");
    let [rejected] = one_bad.resources.rejected() else { panic!("one is rejected") };
    assert!(rejected.kept);

    let still_bad = loaded_from(directory.path(), &[&both("later", "4s")]).keeping(&one_bad);
    assert_eq!(timeout(&still_bad, "web"), Some(Duration::from_secs(1)), "however often it is reloaded");

    let torn = loaded_from(directory.path(), &["kind: HTTPRoute\nmetadata: {\n"]).keeping(&still_bad);
    assert_eq!(names(&torn), ["api", "web"], "nobody knows which of them it was");

    let removed = loaded_from(directory.path(), &[&route("api", "5s")]).keeping(&torn);
    assert_eq!(names(&removed), ["api"], "what is taken out is gone");
    assert_eq!(removed.resources.rejected(), []);
}

#[test]
fn what_connections_are_held_to_is_read() {
    let policy = r#"    connectionPool:
      tcp: { maxConnections: 100, connectTimeout: 1.5s }
      http:
        http1MaxPendingRequests: 10
        http2MaxRequests: 1000
        maxRequestsPerConnection: 0
        maxRetries: 3
        idleTimeout: 1h
    outlierDetection: { consecutive5xxErrors: 7, baseEjectionTime: 15s, maxEjectionPercent: 50 }
"#;
    for host in ["web", "web.shop", "web.shop.svc.cluster.local"] {
        let config = loaded(&[&destination(host, policy)]);
        assert_eq!(config.resources.rejected(), []);
        let destinations = config.destinations();
        let found = destinations.find("web.shop.svc.cluster.local").expect("a policy");
        let caps = found.caps;
        assert_eq!(
            (caps.connections, caps.pending, caps.requests, caps.retries),
            (Some(100), Some(10), Some(1000), Some(3))
        );
        assert_eq!(found.connect_timeout, Some(Duration::from_millis(1_500)));
        assert_eq!(
            (found.requests_per_connection, found.idle_timeout),
            (None, Some(Duration::from_secs(3_600)))
        );
        assert_eq!(
            found.outliers,
            Some(OutlierPolicy {
                consecutive_5xx: 7,
                consecutive_gateway_errors: 0,
                interval: Duration::from_secs(10),
                base_ejection: Duration::from_secs(15),
                max_percent: 50,
            })
        );
    }
}

#[test]
fn what_a_destination_rule_cannot_mean_here_is_rejected_with_its_place() {
    for (host, policy, message) in [
        (
            "web",
            "    tls: { mode: DISABLE }\n",
            "7:5: spec.trafficPolicy.tls: expected one of connectionPool, outlierDetection, found unknown field \"tls\"",
        ),
        (
            "web",
            "    connectionPool: { tcp: { maxConnections: 0 } }\n",
            "7:46: spec.trafficPolicy.connectionPool.tcp.maxConnections: expected a number from 1 to 2147483647, found \"0\"",
        ),
        (
            "web",
            "    outlierDetection: { interval: 0s }\n",
            "7:35: spec.trafficPolicy.outlierDetection.interval: expected a duration above zero, such as 10s, 1.5s or 500ms, found \"0s\"",
        ),
        (
            "web",
            "    {}\n  subsets: []\n",
            "8:3: spec.subsets: expected one of host, trafficPolicy, found unknown field \"subsets\"",
        ),
        (
            "db.example.com",
            "    {}\n",
            "5:9: spec.host: expected a service, <name>, <name>.<namespace> or <name>.<namespace>.svc.<domain>, found \"db.example.com\"",
        ),
        (
            "\"*.shop.svc\"",
            "    {}\n",
            "5:9: spec.host: expected a name of up to 253 characters a-z, 0-9, - and ., whose parts are neither empty nor begin or end with -, found \"*.shop.svc\"",
        ),
    ] {
        let config = loaded(&[&destination(host, policy)]);
        let [rejected] = config.resources.rejected() else { panic!("{policy}") };
        assert!(rejected.message.ends_with(&format!("0.yaml:{message}")), "{}", rejected.message);
    }
}

#[test]
fn rate_limits_are_read() {
    let found = config(
        "rate-limits:\n- { service: web.shop.svc.cluster.local, requests: 100 }\n\
         - { route: shop/web/1, requests: 10, per: 1m, burst: 20 }\n- { inbound: all, by: source-identity, requests: 5 }\n\
         - { inbound: 8080, requests: 5 }\n",
    );
    let limit = |of, by, requests, per, burst| RateLimit {
        of,
        by,
        rate: Rate { requests, per: Duration::from_secs(per), burst },
    };
    assert_eq!(
        found.rate_limits,
        [
            limit(Limited::Service(ServiceName::new("web", "shop")), SharedBy::All, 100, 1, 100),
            limit(Limited::Route("shop/web/1".to_owned()), SharedBy::All, 10, 60, 20),
            limit(Limited::Inbound(None), SharedBy::SourceIdentity, 5, 1, 5),
            limit(Limited::Inbound(Some(8080)), SharedBy::All, 5, 1, 5),
        ]
    );
    let named = |limit: &str, label: &str| Limited::Route(limit.to_owned()).names(label);
    assert!(named("shop/web", "shop/web/1") && named("shop/web/1", "shop/web/1"));
    assert!(!named("shop/web", "shop/web2/1") && !named("shop/web/1", "shop/web/10"));
}

#[test]
fn a_rate_limit_that_makes_no_sense_is_named_with_its_place() {
    refused(
        "rate-limits: [ { service: web, requests: 1 } ]",
        "1:27: rate-limits[0].service: expected the host name of a service, <name>.<namespace>.svc.<domain>, found \"web\"",
    );
    refused(
        "rate-limits: [ { route: web, requests: 1 } ]",
        "1:25: rate-limits[0].route: expected an HTTPRoute as <namespace>/<name>, or one of its rules as <namespace>/<name>/<number from 0>, found \"web\"",
    );
    refused(
        "rate-limits: [ { requests: 1 } ]",
        "1:16: rate-limits[0]: expected exactly one of service, route and inbound, found none or several",
    );
    refused(
        "rate-limits: [ { inbound: all, requests: 0 } ]",
        "1:42: rate-limits[0].requests: expected a number from 1 to 1000000, found \"0\"",
    );
    refused(
        "rate-limits: [ { route: a/b, by: source-identity, requests: 1 } ]",
        "1:16: rate-limits[0].by: expected all, since the source of what goes out is the workload itself, found source-identity",
    );
    refused(
        "rate-limits: [ { inbound: 0, requests: 1 } ]",
        "1:27: rate-limits[0].inbound: expected all, or a port from 1 to 65535, found \"0\"",
    );
}

#[test]
fn the_routes_of_the_readme_are_valid() {
    let readme = include_str!("../../../../README.md");
    let block = |kind: &str| {
        let (_, rest) = readme.split_once(&format!("```yaml {kind}\n")).expect("the README has such a block");
        rest.split_once("```").expect("its block ends").0
    };
    let directory = tempfile::tempdir().expect("a directory");
    let (routes, path) = (directory.path().join("routes.yaml"), directory.path().join("sidestep.yaml"));
    fs::write(&routes, block("routes")).expect("a file");
    let text = block("routing").replace("/etc/sidestep/routes.yaml", &routes.display().to_string());
    fs::write(&path, text).expect("a file");
    let config = load(&path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.resources.rejected(), []);
    let (routes, web) = (config.routes(), "web.shop.svc.cluster.local");
    assert!(routes.find(web, 80).is_some());
    for backend in
        config.resources.routes().iter().flat_map(|route| &route.rules).flat_map(|rule| &rule.backends)
    {
        let Backing::Service(service) = &backend.to else { panic!("{backend:?}") };
        assert!(routes.resolve(service).is_some(), "{service} is not among the services");
    }
    assert!(config.destinations().find(web).is_some());
    assert_eq!(config.rate_limits.len(), 3);
}
