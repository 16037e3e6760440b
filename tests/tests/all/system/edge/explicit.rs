//! Programs that address their sidecar themselves: curl with a proxy, with CONNECT, and with the path of a service.

use serde_json::json;
use sidestep_tests::mesh::policy;
use sidestep_tests::{Config, Mesh, Need, Pod, Process, Sidestep, needs_capture};

use super::super::server::answer;
use super::super::web::{PAGE, nginx};

const PROXY: &str = "http://127.0.0.1:15001";

/// A client that nothing is captured of, and a server under STRICT that is reached through a tunnel.
struct Scene<'pod> {
    near: Sidestep<'pod>,
    _far: Sidestep<'pod>,
}

impl<'pod> Scene<'pod> {
    fn start(client: &'pod Pod, server: &'pod Pod, mesh: &Mesh) -> Self {
        mesh.hold_to(&policy("{ selector: { matchLabels: { app: web } }, mtls: { mode: STRICT } }"));
        let far = Sidestep::sidecar(server, &mesh.member(Config::of(server), "web"));
        let config = mesh.knows(mesh.member(Config::of(client), "client"), &[("web", server)]);
        let service = json!([{
            "hostname": "web.shop.svc.cluster.local",
            "addresses": ["10.96.0.1"],
            "ports": [{ "port": 80, "target-port": 8080 }],
            "endpoints": [server.v4(0).ip()],
        }]);
        let config = config
            .with("capture", json!({ "mode": "none" }))
            .with("explicit", json!({ "address": "127.0.0.1:15001" }))
            .with("outbound", json!({ "rules": [{ "deny": "10.77.0.2:8081" }] }))
            // No name server answers here.
            .with("relay", json!({ "connect-timeout": "1s" }))
            .with("services", service);
        Self { near: Sidestep::sidecar(client, &config), _far: far }
    }
}

fn curl(client: &Pod, arguments: &[&str]) -> Process {
    let fixed = ["-sS", "--max-time", "5", "-w", "\n%{http_code}"];
    client.app().start("curl", fixed.iter().chain(arguments))
}

fn status(client: &Pod, arguments: &[&str]) -> (String, String) {
    let curl = curl(client, arguments);
    let _ended = curl.end();
    let lines = curl.stdout();
    (lines.last().cloned().unwrap_or_default(), lines.join("\n") + &curl.stderr())
}

#[test]
fn a_service_is_reached_through_the_tunnel_in_every_way_that_a_program_can_ask() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"));
    let (client, server) = Pod::pair();
    let (mesh, _nginx) = (Mesh::new(), nginx(&server));
    let scene = Scene::start(&client, &server, &mesh);
    for ask in [
        &["-x", PROXY, "http://web.shop.svc.cluster.local/"][..],
        &["-x", PROXY, "http://web.shop/"],
        &["-x", PROXY, "http://10.96.0.1/"],
        &["-p", "-x", PROXY, "http://web/"],
        &["http://127.0.0.1:15001/proxy/web/"],
        &["http://localhost:15001/proxy/web.shop.svc.cluster.local:80/any/path?query"],
        &["-p", "-x", PROXY, "http://10.77.0.2:8080/"],
    ] {
        let printed = answer(client.app(), "curl", ["-sSf", "--max-time", "5"].iter().chain(ask));
        assert_eq!(printed, PAGE, "{ask:?}");
    }
    // STRICT at the other end: what came, came through a tunnel with our identity.
    scene.near.log.expect("a connection through the tunnel", |line| {
        line.direction == "outbound"
            && line.destination_principal.as_deref().is_some_and(|name| name.ends_with("/sa/web"))
    });
}

#[test]
fn what_cannot_be_asked_for_is_refused_with_a_text_that_says_what_can() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"));
    let (client, server) = Pod::pair();
    let (mesh, _nginx) = (Mesh::new(), nginx(&server));
    let _scene = Scene::start(&client, &server, &mesh);
    for (ask, expected, told) in [
        (&["http://127.0.0.1:15001/"][..], "404", "/proxy/<service>"),
        (&["http://127.0.0.1:15001/proxy/nobody/"], "404", "no service has this hostname"),
        (&["http://127.0.0.1:15001/proxy/web:81/"], "503", ""),
        (&["-x", PROXY, "http://127.0.0.1:15001/proxy/web/"], "403", "the proxy itself"),
        (&["-x", PROXY, "http://10.77.0.2:8081/"], "403", "may not go there"),
        (&["-x", PROXY, "http://nobody.invalid/"], "502", "neither a service nor a host"),
        (&["-H", "Host: web", "--request-target", "ftp://web/", "http://127.0.0.1:15001/"], "400", "CONNECT"),
    ] {
        let (found, text) = status(&client, ask);
        assert_eq!(found, expected, "{ask:?}: {text}");
        assert!(text.contains(told), "{ask:?}: {text}");
    }
    for (ask, told) in [
        (&["-p", "-x", PROXY, "http://127.0.0.1:15001/"][..], "403"),
        (&["-p", "-x", PROXY, "http://10.77.0.2:8081/"], "403"),
        (&["-p", "-x", PROXY, "http://web:81/"], "503"),
        (&["-p", "-x", PROXY, "http://nobody.invalid/"], "502"),
    ] {
        let asked = curl(&client, ask);
        assert!(!asked.end().success());
        assert!(asked.stderr().contains(told), "{ask:?}: {}", asked.stderr());
    }
    // Nobody else reaches it; asked from where nothing is captured.
    let outside =
        server.sidecar().start("curl", ["-sS", "--max-time", "5", "http://10.77.0.1:15001/proxy/web/"]);
    assert_eq!(outside.end().code(), Some(7), "{}", outside.stderr());
}
