//! A kubelet, which has no identity, in front of a workload that takes nothing but mutual TLS.

use serde_json::{Value, json};
use sidestep_tests::mesh::policy;
use sidestep_tests::{Config, Mesh, Need, Pod, Process, Sidestep, needs_capture};

use super::super::server::{Server, eventually_succeeds, write};
use crate::ask::{connect, echo};

/// An app with a page for probes and one for others.
fn app(pod: &Pod) -> Server {
    let server = Server::start(pod.app(), "python3", |directory| {
        write(&directory.join("healthz"), "well");
        write(&directory.join("secret"), "nothing for strangers");
        let directory = directory.display().to_string();
        ["-m", "http.server", "8080", "--directory", &directory].map(str::to_owned).into()
    });
    eventually_succeeds(pod.sidecar(), "curl", &["-sSf", "http://127.0.0.1:8080/healthz"]);
    server
}

/// A workload under STRICT with these probes.
fn strict<'pod>(pod: &'pod Pod, mesh: &Mesh, probes: &Value) -> Sidestep<'pod> {
    mesh.hold_to(&policy("{ mtls: { mode: STRICT } }"));
    let config = mesh.member(Config::of(pod), "web").with("inbound", json!({ "probes": probes }));
    // Whoever says nothing, or half of something, is not waited for long.
    let config = config.with("relay", json!({ "connect-timeout": "1s" }));
    Sidestep::sidecar(pod, &config.with("http", json!({ "header-timeout": "1s" })))
}

fn status(client: &Pod, more: &[&str], path: &str) -> (String, Process) {
    let url = format!("http://10.77.0.2:8080{path}");
    let fixed = ["-sS", "-g", "--path-as-is", "--max-time", "5", "-o", "/dev/null", "-w", "%{http_code}"];
    let curl = client.app().start("curl", fixed.iter().chain(more).chain(&[url.as_str()]));
    let _ended = curl.end();
    (curl.stdout().join(""), curl)
}

#[test]
fn an_http_probe_passes_under_strict_and_nothing_else_does() {
    needs_capture!(Need::Tool("python3"), Need::Tool("curl"));
    let (client, server) = Pod::pair();
    let (mesh, app) = (Mesh::new(), app(&server));
    let probes = json!([{ "port": 8080, "http": "/healthz" }, { "port": 9999, "tcp": true }]);
    let sidestep = strict(&server, &mesh, &probes);
    assert_eq!(status(&client, &[], "/healthz").0, "200");
    assert_eq!(status(&client, &["--head"], "/healthz").0, "200");
    for (more, path) in [
        (&[][..], "/secret"),
        (&[], "/"),
        (&[], "/healthz/"),
        (&[], "/healthz?x=1"),
        (&[], "/%68ealthz"),
        (&[], "/x/../healthz"),
        (&["-X", "POST"], "/healthz"),
        (&["-H", "Connection: Upgrade", "-H", "Upgrade: websocket"], "/healthz"),
        (&["--request-target", "http://10.77.0.2:8080/healthz"], "/healthz"),
    ] {
        assert_eq!(status(&client, more, path).0, "403", "{more:?} {path}");
    }
    // A second request on the connection of a good one is looked at too.
    let both = ["http://10.77.0.2:8080/healthz", "http://10.77.0.2:8080/secret"];
    let curl = client.app().start("curl", ["-sS", "-w", "%{http_code} "].iter().chain(&both));
    assert!(curl.end().success());
    let printed = curl.stdout().join("");
    assert!(
        printed.contains("well200") && printed.contains("403") && !printed.contains("strangers"),
        "{printed}"
    );
    // What is no HTTP is not answered, and other ports are as closed as before.
    let dialled = connect(&client, &format!("{} --send hello", server.v4(8080)));
    assert_ne!(dialled.read, "hello", "{dialled:?}");
    let dialled = connect(&client, &format!("{} --send hello", server.v4(8081)));
    assert_eq!(dialled.refused.as_deref(), Some("ECONNREFUSED"), "{dialled:?}");
    let log = app.stderr();
    assert!(!log.contains("secret") && !log.contains("POST"), "the app was asked: {log}");
    drop(sidestep);
}

#[test]
fn a_tcp_probe_may_connect_and_must_not_speak() {
    needs_capture!(Need::Tool("python3"));
    let (client, server) = Pod::pair();
    let mesh = Mesh::new();
    let _app = echo(&server, "app", server.v4(8080), "");
    let sidestep =
        strict(&server, &mesh, &json!([{ "port": 8080, "tcp": true }, { "port": 8081, "tcp": true }]));
    let kubelet = "import socket; socket.create_connection(('10.77.0.2', 8080)).close()";
    client.app().start("python3", ["-c", kubelet]).succeed();
    let line = sidestep.log.inbound(server.v4(8080));
    assert_eq!((line.verdict.as_str(), line.error.as_deref()), ("proxy", None), "{line:?}");
    let dialled = connect(&client, &format!("{} --send hello", server.v4(8080)));
    assert!(dialled.broken.is_some() && !dialled.read.contains("hello"), "{dialled:?}");
    sidestep.log.expect("a refusal of what a probe said", |line| {
        line.reason == "plain_text" && line.verdict == "deny"
    });
    // Nobody listens there: the connection is reset, and the log says so.
    let dialled = connect(&client, &server.v4(8081).to_string());
    assert_eq!(dialled.broken.as_deref(), Some("ECONNRESET"), "{dialled:?}");
    let line = sidestep.log.inbound(server.v4(8081));
    assert_eq!(line.error_side.as_deref(), Some("workload"), "{line:?}");
}
