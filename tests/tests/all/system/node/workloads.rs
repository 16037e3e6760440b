//! Servers and a proxy as distributions ship them, each in a pod of its own: what they say to each other goes through tunnels,
//! arrives as it was sent, and is held to policy.

use std::fs;
use std::path::Path;

use serde_json::json;
use sidestep_tests::mesh::{NAMESPACE, identity};
use sidestep_tests::need::envoy;
use sidestep_tests::node::Agent;
use sidestep_tests::{Need, Node, Pod, eventually, needs_capture};

use super::super::databases::{postgresql, redis, start_postgresql};
use super::super::server::{Server, answer, eventually_succeeds, write};
use super::super::web::{PAGE, nginx};
use super::{plain, serving};
use crate::pods::{denial, pause};

/// Where Envoy of these tests listens.
const EDGE: u16 = 10000;

/// What Envoy calls the options of HTTP towards a cluster.
const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// An Envoy that is an app: what it is asked, it asks nginx.
fn envoy_before(pod: &Pod, nginx: &Pod, binary: &Path) -> Server {
    let address = |ip: String, port: u16| json!({ "socket_address": { "address": ip, "port_value": port } });
    let upstream = nginx.v4(8080);
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        }}],
        "route_config": { "virtual_hosts": [{
            "name": "all", "domains": ["*"], "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "nginx" } }],
        }]},
    });
    let config = json!({ "static_resources": {
        "listeners": [{ "name": "edge", "address": address("0.0.0.0".into(), EDGE), "filter_chains": [{
            "filters": [{ "name": "envoy.filters.network.http_connection_manager", "typed_config": manager }],
        }]}],
        "clusters": [{
            "name": "nginx", "type": "STATIC", "connect_timeout": "5s",
            "load_assignment": { "cluster_name": "nginx", "endpoints": [{ "lb_endpoints": [{ "endpoint": {
                "address": address(upstream.ip().to_string(), upstream.port()),
            }}]}]},
            // A connection is logged when it ends, and those that are older than the agent are not captured.
            "typed_extension_protocol_options": { OPTIONS: {
                "@type": format!("type.googleapis.com/{OPTIONS}"),
                "common_http_protocol_options": { "max_requests_per_connection": 1 },
                "explicit_http_config": { "http_protocol_options": {} },
            }},
        }],
    }});
    let server = Server::start(pod.app(), &binary.display().to_string(), |directory| {
        let file = directory.join("envoy.yaml");
        write(&file, &config.to_string());
        let file = file.display().to_string();
        ["--config-path", &file, "--concurrency", "1", "--use-dynamic-base-id", "-l", "warning"]
            .map(str::to_owned)
            .into()
    });
    eventually_succeeds(pod.app(), "curl", &["-sSf", &format!("http://127.0.0.1:{EDGE}/")]);
    server
}

/// What no compression and no chance makes out of little.
fn noise(length: usize) -> Vec<u8> {
    let step = |state: &mut u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        Some(state.to_le_bytes())
    };
    let mut state = 0x9e37_79b9_7f4a_7c15;
    std::iter::from_fn(move || step(&mut state)).flatten().take(length).collect()
}

/// Waits for the line of a connection between two pods, which went through a tunnel in which both proved who they are.
fn tunnelled(agent: &Agent<'_>, from: &str, to: &str) {
    for (workload, direction) in [(from, "outbound"), (to, "inbound")] {
        let line = agent.log.expect(&format!("{direction} of {workload}"), |line| {
            let other = match direction {
                "outbound" => line.destination_principal.as_deref() == Some(&*identity(to)),
                _ => line.source_principal.as_deref() == Some(&*identity(from)),
            };
            line.workload == format!("{NAMESPACE}/{workload}") && line.direction == direction && other
        });
        assert!(line.tier == "tunnel" || line.tier == "http", "{line:?}");
    }
}

#[test]
fn envoy_nginx_postgresql_and_redis_talk_through_tunnels_and_one_of_them_is_denied() {
    needs_capture!(
        Need::Envoy,
        Need::Tool("nginx"),
        Need::Tool("curl"),
        Need::Tool("redis-server"),
        Need::Tool("redis-cli"),
        Need::Tool("redis-benchmark"),
        Need::Tool("psql"),
        Need::Tool("runuser"),
        Need::Speed
    );
    let Some((envoy, binaries)) = envoy().zip(postgresql()) else {
        assert!(!sidestep_tests::need::met(&[Need::Tool("postgres")]), "postgres is not where it is kept");
        return;
    };
    let node = Node::new();
    let (_switch, [web, edge, site, db, cache]) = Pod::joined();
    let _pause = pause(&web);
    let nginx = nginx(&site);
    let _envoy = envoy_before(&edge, &site, &envoy);
    let _postgresql = start_postgresql(&db, &binaries);
    let _redis = redis(&cache);
    let agent = serving(
        &node,
        &[(&web, "web"), (&edge, "edge"), (&site, "site"), (&db, "db"), (&cache, "cache")],
        plain(),
    );
    // Who has told that it can be reached through a tunnel is dialled through one from then on.
    let known = |from: &str, to: &str, pod: &Pod, program: &str, line: &[&str]| {
        eventually(&format!("{to} is reached through a tunnel"), || {
            let asked = pod.app().start(program, line.iter().copied());
            let done = asked.end().success();
            let there = agent.log.lines().into_iter().any(|line| {
                line.workload == format!("{NAMESPACE}/{from}")
                    && line.destination_principal.as_deref() == Some(&*identity(to))
            });
            if done && there { Ok(()) } else { Err((asked.stderr(), agent.process.stderr())) }
        });
    };

    // nginx, to the byte.
    let sent = noise(8 << 20);
    fs::write(nginx.path().join("noise"), &sent).unwrap_or_else(|error| panic!("write noise: {error}"));
    let into = tempfile::tempdir().unwrap_or_else(|error| panic!("make a directory: {error}"));
    let file = into.path().join("noise").display().to_string();
    let page = format!("http://{}/", site.v4(8080));
    known("web", "site", &web, "curl", &["-sSf", &page]);
    answer(web.app(), "curl", ["-sSf", "-o", &file, &format!("{page}files/noise")]);
    assert!(fs::read(&file).is_ok_and(|found| found == sent), "nginx: other bytes than were sent");
    tunnelled(&agent, "web", "site");

    // Envoy, which asks nginx through a tunnel of its own: nginx sees Envoy, and Envoy's pod says who it is.
    let through = format!("http://{}/", edge.v4(EDGE));
    known("web", "edge", &web, "curl", &["-sSf", &through]);
    known("edge", "site", &web, "curl", &["-sSf", &through]);
    assert_eq!(answer(web.app(), "curl", ["-sSf", &through]), PAGE);
    answer(web.app(), "curl", ["-sSf", "-o", &file, &format!("{through}files/noise")]);
    assert!(fs::read(&file).is_ok_and(|found| found == sent), "Envoy: other bytes than were sent");
    tunnelled(&agent, "web", "edge");
    tunnelled(&agent, "edge", "site");
    let requests = nginx.file("access.log");
    assert!(requests.contains(&format!("{} ", edge.v4(0).ip())), "{requests}");

    // PostgreSQL.
    let host = db.v4(0).ip().to_string();
    let psql = |query: &'static str| ["-h", &host, "-U", "postgres", "-Atc", query].map(str::to_owned);
    let asked = psql("select inet_client_addr()");
    known("web", "db", &web, "psql", &asked.each_ref().map(String::as_str));
    assert_eq!(answer(web.app(), "psql", asked), web.v4(0).ip().to_string());
    let told = answer(web.app(), "psql", psql("select repeat('sidestep', 500000)"));
    assert!(told == "sidestep".repeat(500_000), "PostgreSQL: other bytes than were sent");
    tunnelled(&agent, "web", "db");

    // Redis.
    let host = cache.v4(0).ip().to_string();
    known("web", "cache", &web, "redis-cli", &["-e", "-h", &host, "SET", "key", "value"]);
    assert_eq!(answer(web.app(), "redis-cli", ["-e", "-h", &host, "GET", "key"]), "value");
    let load = ["-h", &host, "-t", "set,get", "-n", "20000", "-c", "20", "-P", "8", "--csv"];
    let told = answer(web.app(), "redis-benchmark", load);
    assert!(told.contains("\"SET\",") && told.contains("\"GET\","), "{told}");
    tunnelled(&agent, "web", "cache");

    // One of them is denied to one of them, and nobody else is.
    node.api.put(denial("no-database", Some(json!({ "principals": ["cluster.local/ns/shop/sa/web"] }))));
    eventually("PostgreSQL is denied to web", || {
        let asked = web.app().start("psql", psql("select 1"));
        if asked.end().success() { Err(asked.stdout()) } else { Ok(()) }
    });
    let denied = agent.log.expect("the denial", |line| line.workload == "shop/db" && line.verdict == "deny");
    assert_eq!(denied.source_principal.as_deref(), Some(&*identity("web")), "{denied:?}");
    assert_eq!(answer(edge.app(), "psql", psql("select 6 * 7")), "42");
    assert_eq!(answer(web.app(), "redis-cli", ["-e", "-h", &host, "GET", "key"]), "value");
    assert_eq!(answer(web.app(), "curl", ["-sSf", &through]), PAGE);
    node.api.delete("AuthorizationPolicy", NAMESPACE, "no-database");
    eventually_succeeds(web.app(), "psql", &psql("select 1"));
}
