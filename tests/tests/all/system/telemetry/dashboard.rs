//! A real Prometheus: it takes what is served, finds no fault with it, and answers every query of the dashboards.

use std::fs;

use serde_json::Value;
use sidestep_tests::{Need, Process, needs_capture};

use super::*;

const DASHBOARDS: [&str; 3] =
    ["deploy/dashboards/sidestep.json", "deploy/dashboards/node.json", "deploy/dashboards/workload.json"];
/// Where Prometheus listens.
const PROMETHEUS: u16 = 9090;
/// Panels about what this scene has none of: gRPC, denials, and a node.
const EMPTY: [&str; 7] = [
    "gRPC per second, by status",
    "Pods that could not be enrolled, within an hour",
    "CNI requests per second, by outcome",
    "Agents that the API server does not reach",
    "Denials of the kernel per second, the ten with the most",
    "Denials of policies per second, the ten with the most",
    "Decisions of policies per second",
];

/// Title and query of everything that a dashboard shows, its variables set to everything.
fn queries(dashboard: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(shipped(dashboard)).unwrap_or_else(|error| panic!("{dashboard}: {error}"));
    let dashboard: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{dashboard}: {error}"));
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut queries = Vec::new();
    for panel in list(&dashboard["panels"]) {
        for target in list(&panel["targets"]) {
            let query =
                target["expr"].as_str().unwrap_or_else(|| panic!("a target without a query: {target}"));
            let query = query
                .replace("$reporter", "source|destination")
                .replace("$service", ".*")
                .replace("=\"$workload\"", "=~\".*\"")
                .replace("$workload", ".*")
                .replace("$node", ".*")
                .replace("$pod", ".*")
                .replace("$__rate_interval", "1m");
            assert!(!query.contains('$'), "a variable that nobody set: {query}");
            queries.push((panel["title"].as_str().unwrap_or_default().to_owned(), query));
        }
    }
    queries
}

/// Every metric that the product serves of requests and connections.
fn prometheus(pod: &Pod, directory: &std::path::Path) -> Process {
    let config = "global: { scrape_interval: 500ms, evaluation_interval: 1m }\nscrape_configs:\n  - job_name: sidestep\n    \
                  static_configs: [ { targets: [ \"127.0.0.1:15021\" ] } ]\n";
    let file = directory.join("prometheus.yml");
    fs::write(&file, config).unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
    let process = pod.sidecar().start(
        "prometheus",
        [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", directory.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{PROMETHEUS}"),
        ],
    );
    eventually("Prometheus is ready", || {
        match pod.namespace.http(([127, 0, 0, 1], PROMETHEUS).into(), "/-/ready") {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}: {}", process.stderr())),
        }
    });
    process
}

/// How many series a query finds now.
fn series(pod: &Pod, query: &str) -> usize {
    let url = format!("http://127.0.0.1:{PROMETHEUS}/api/v1/query");
    let text =
        answer(pod.sidecar(), "curl", ["-s", "--data-urlencode", &format!("query={query}"), url.as_str()]);
    let answer: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{query}: {error}: {text}"));
    assert_eq!(answer["status"], "success", "{query}: {text}");
    answer["data"]["result"].as_array().map_or(0, Vec::len)
}

#[test]
fn every_query_of_the_dashboards_is_answered_by_prometheus() {
    needs_capture!(Need::Tool("curl"), Need::Tool("python3"), Need::Tool("prometheus"));
    let scene = Scene::new();
    let [near, far] = scene.sidecars(&[], &[]);
    let _apps = scene.apps();
    let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("make a directory: {error}"));
    let _prometheus = prometheus(&scene.near, directory.path());
    let queries: Vec<_> = DASHBOARDS.into_iter().flat_map(queries).collect();
    assert!(queries.len() >= 60, "{} queries", queries.len());
    for (title, query) in &queries {
        let what = format!("{title}: {query}");
        if EMPTY.contains(&title.as_str()) {
            series(&scene.near, query);
            continue;
        }
        // A rate needs what it is of to grow between two looks.
        eventually(&what, || {
            assert_eq!(scene.ask("/next", &[]), "next leaf");
            let opaque = format!("http://{}/leaf", scene.far.v4(OPAQUE));
            assert_eq!(answer(scene.near.app(), "curl", ["-s", &opaque]), "leaf");
            // Nobody listens there, which has a flag.
            let nobody = format!("http://{}/", scene.far.v4(1));
            scene.near.app().start("curl", ["-s", "-o", "/dev/null", &nobody]).end();
            match series(&scene.near, query) {
                0 => Err(near.metrics()),
                _ => Ok(()),
            }
        });
    }
    drop(far);
}

#[test]
fn every_metric_of_the_dashboards_is_explained_in_the_readme() {
    let readme = fs::read_to_string(shipped("README.md")).unwrap_or_else(|error| panic!("README: {error}"));
    for (title, query) in DASHBOARDS.into_iter().flat_map(queries) {
        let words = query.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
        for name in words.filter(|word| word.starts_with("sidestep_") || word.starts_with("istio_")) {
            let family = name.trim_end_matches("_bucket");
            assert!(readme.contains(&format!("`{family}`")), "{title}: {name} is not in the README");
        }
    }
}

#[test]
fn promtool_finds_no_fault_with_the_metrics_but_the_name_that_is_istios() {
    needs_capture!(Need::Tool("curl"), Need::Tool("python3"), Need::Tool("promtool"));
    let scene = Scene::new();
    let [near, _far] = scene.sidecars(&[], &[]);
    let _apps = scene.apps();
    assert_eq!(scene.ask("/next", &[]), "next leaf");
    let (_, all) = near.http("/metrics").unwrap_or_else(|error| panic!("metrics: {error}"));
    let one = near.http(&format!("/metrics/{}", scene.near.workload)).map(|(_, text)| text);
    for text in [all, one.unwrap_or_else(|error| panic!("metrics of one workload: {error}"))] {
        for name in
            ["istio_requests_total", "istio_response_bytes_bucket", "istio_tcp_connections_closed_total"]
        {
            assert!(text.contains(&format!("\n{name}{{")), "no {name} in\n{text}");
        }
        let mut command = scene.near.sidecar().command("promtool");
        command.args(["check", "metrics"]);
        let promtool = Process::start(command);
        promtool.say(&text);
        promtool.hang_up();
        promtool.end();
        let found: Vec<String> = promtool.stderr().lines().map(str::to_owned).collect();
        let faults: Vec<&String> = found
            .iter()
            .filter(|line| !line.starts_with("istio_request_duration_milliseconds use base unit"))
            .collect();
        assert!(faults.is_empty(), "{faults:#?}\nin\n{text}");
    }
    let (status, _) = near.http("/metrics/nobody").unwrap_or_else(|error| panic!("metrics: {error}"));
    assert_eq!(status, 404);
}
