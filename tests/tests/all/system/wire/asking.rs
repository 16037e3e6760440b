//! Sidestep's client at a foreign tunnel.

use serde_json::{Value, json};
use sidestep_tests::mesh::{Credentials, identity};
use sidestep_tests::{Config, Mesh, Need, Pod, Sidestep, needs_capture};

use super::Foreign;
use crate::ask::connect;

/// A pod served by Sidestep, and one whose tunnel is foreign.
struct Scene {
    client: Pod,
    server: Pod,
    mesh: Mesh,
}

impl Scene {
    fn new() -> Self {
        let (client, server) = Pod::pair();
        Self { client, server, mesh: Mesh::new() }
    }

    fn server(&self, credentials: &Credentials, behaviour: &str) -> Foreign {
        let line = format!("--address {} {behaviour}", self.server.v4(15008));
        let server = Foreign::start(self.server.app(), "server.py", Some(credentials), &line);
        server.tells("listening");
        server
    }

    fn sidecar(&self) -> Sidestep<'_> {
        Sidestep::sidecar(&self.client, &self.config())
    }

    fn config(&self) -> Config {
        let config = self.mesh.member(Config::of(&self.client), "web");
        self.mesh.knows(config, &[("foreign", &self.server)])
    }

    fn dial(&self) -> sidestep_tests::peer::Dialled {
        connect(&self.client, &format!("{} --send hello", self.server.v4(8080)))
    }
}

fn header(request: &Value, name: &str) -> Option<String> {
    let fields = request["request"].as_array()?;
    let field = fields.iter().find(|field| field[0] == name)?;
    field[1].as_str().map(str::to_owned)
}

#[test]
fn the_request_and_the_settings_are_those_of_the_mesh() {
    needs_capture!(Need::ForeignHttp2);
    let scene = Scene::new();
    let foreign = scene.mesh.issue("foreign");
    let server = scene.server(&foreign, "echo");
    let sidecar = scene.sidecar();
    let dialled = scene.dial();
    assert_eq!(dialled.read, "hello", "{dialled:?}");
    assert_eq!(dialled.peer, Some(scene.server.v4(8080)), "the app sees where it wanted to go");
    let connection = server.tells("connection");
    assert_eq!(connection["peer"], json!([identity("web")]));
    assert_eq!(connection["alpn"], "h2");
    let request = server.tells("request");
    assert_eq!(header(&request, ":method").as_deref(), Some("CONNECT"));
    assert_eq!(header(&request, ":authority"), Some(scene.server.v4(8080).to_string()));
    assert_eq!((header(&request, ":scheme"), header(&request, ":path")), (None, None));
    let baggage = header(&request, "baggage").unwrap_or_default();
    assert!(baggage.contains("k8s.namespace.name=shop") && baggage.contains("service.name="), "{baggage}");
    let forwarded = header(&request, "forwarded").unwrap_or_default();
    assert!(forwarded.starts_with(&format!("for=\"{}:", scene.client.v4(0).ip())), "{forwarded}");
    let trace = header(&request, "traceparent").unwrap_or_default();
    assert_eq!(trace.len(), 55, "{trace}");
    let settings = &request["settings"];
    assert_eq!(settings["initial_window_size"], 4 << 20);
    assert_eq!(settings["max_frame_size"], 1 << 20);
    assert_eq!(settings["max_header_list_size"], 16 << 10);
    assert_eq!(settings["enable_push"], 0);
    assert_eq!(request["window"], 16 << 20);
    let line = sidecar.log.outbound(scene.server.v4(8080));
    assert_eq!((line.tier.as_str(), line.upstream), ("tunnel", Some(scene.server.v4(15008))));
    assert_eq!(line.source_principal, Some(identity("web")));
    assert_eq!(line.destination_principal, Some(identity("foreign")));
    assert_eq!(line.peer_workload.as_deref(), Some("abroad/foreign-1"));
    assert_eq!(line.trace_id.as_deref(), trace.get(3..35));
}

#[test]
fn every_refusal_of_the_other_end_is_told_with_its_meaning() {
    needs_capture!(Need::ForeignHttp2);
    for (behaviour, status) in [("deny", "401"), ("unavailable", "503")] {
        let scene = Scene::new();
        let foreign = scene.mesh.issue("foreign");
        let _server = scene.server(&foreign, behaviour);
        let sidecar = scene.sidecar();
        let dialled = scene.dial();
        assert!(dialled.read.is_empty(), "{dialled:?}");
        let line = sidecar.log.outbound(scene.server.v4(8080));
        assert!(line.error.as_deref().is_some_and(|error| error.contains(status)), "{line:?}");
        assert_eq!(line.error_side.as_deref(), Some("peer"));
    }
}

#[test]
fn a_stream_that_is_refused_unseen_goes_through_another_tunnel() {
    needs_capture!(Need::ForeignHttp2);
    let scene = Scene::new();
    let foreign = scene.mesh.issue("foreign");
    let _server = scene.server(&foreign, "refuse-first");
    let sidecar = scene.sidecar();
    assert_eq!(scene.dial().read, "hello");
    // The foreign end serves one connection at a time: the first has to be over before the second is taken.
    assert_eq!(scene.dial().read, "hello");
    assert_eq!(sidecar.metric("sidestep_tunnels_total", &[("outcome", "retried")]), 1.0);
    assert_eq!(
        sidecar.metric("sidestep_tunnels_total", &[("outcome", "opened"), ("direction", "outbound")]),
        2.0
    );
}

#[test]
fn a_farewell_is_honoured_and_a_tunnel_that_vanished_is_replaced() {
    needs_capture!(Need::ForeignHttp2);
    for behaviour in ["leave", "vanish"] {
        let scene = Scene::new();
        let foreign = scene.mesh.issue("foreign");
        let _server = scene.server(&foreign, behaviour);
        let sidecar = scene.sidecar();
        for _ in 0..2 {
            assert_eq!(scene.dial().read, "hello", "{behaviour}");
        }
        let failed = sidecar.metric("sidestep_tunnels_total", &[("outcome", "failed")]);
        assert_eq!(failed, 0.0, "{behaviour}");
    }
}

#[test]
fn whoever_is_not_the_expected_one_gets_no_request() {
    needs_capture!(Need::ForeignHttp2);
    let scene = Scene::new();
    let imposter = scene.mesh.issue("imposter");
    let server = scene.server(&imposter, "echo");
    let sidecar = scene.sidecar();
    let dialled = scene.dial();
    assert!(dialled.read.is_empty(), "{dialled:?}");
    let line = sidecar.log.outbound(scene.server.v4(8080));
    let error = line.error.unwrap_or_default();
    assert!(error.contains("shake hands") && error.contains("imposter"), "{error}");
    assert!(server.0.stdout().iter().all(|line| !line.contains("\"request\"")));
}
