//! Two workloads of a mesh with a tunnel between them: what apps notice of it, which is nothing, and what everybody else does.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use serde_json::json;
use sidestep_tests::mesh::{NAMESPACE, identity};
use sidestep_tests::{
    Config, Event, Mesh, Need, Pod, Process, Sidestep, eventually, leftovers, needs_capture,
};

use crate::ask::{accepted, connect, echo, eventually_dials, listening};

const TUNNELS: &str = "sidestep_tunnels_total";

/// A client `web` that knows the server `db`, whose app listens on 8080.
struct Scene {
    client: Pod,
    server: Pod,
    mesh: Mesh,
    app: Process,
}

impl Scene {
    fn new() -> Self {
        let (client, server) = Pod::pair();
        let app = echo(&server, "app", server.v4(8080), &format!("--listen {}", server.v6(8080)));
        Self { client, server, mesh: Mesh::new(), app }
    }

    fn web(&self) -> Config {
        self.mesh.knows(self.mesh.member(Config::of(&self.client), "web"), &[("db", &self.server)])
    }

    fn db(&self) -> Config {
        self.mesh.member(Config::of(&self.server), "db")
    }

    /// Connections that are held open until the first of the answers hangs up.
    fn hold(&self, count: u64) -> (Process, Process) {
        let address = self.server.v4(8081);
        let keep = listening(self.server.app().peer(&format!("keep --listen {address}")));
        let hold = self.client.app().peer(&format!("hold {address} --count {count}"));
        let holding = hold.event("that it holds", |event| match event {
            Event::Holding { count, error } => Some((count, error)),
            _ => None,
        });
        assert_eq!(holding, (count, None));
        (hold, keep)
    }

    fn sidecars(&self) -> (Sidestep<'_>, Sidestep<'_>) {
        (Sidestep::sidecar(&self.client, &self.web()), Sidestep::sidecar(&self.server, &self.db()))
    }
}

fn dials(client: &Sidestep<'_>, outcome: &str) -> f64 {
    client.metric(TUNNELS, &[("direction", "outbound"), ("outcome", outcome)])
}

fn is_tunnelled(scene: &Scene, web: &Sidestep<'_>, db: &Sidestep<'_>, address: SocketAddr) {
    let dialled = connect(&scene.client, &format!("{address} --send hello"));
    assert_eq!(dialled.read, "app\nhello", "{dialled:?}");
    assert_eq!(dialled.peer, Some(address), "the client sees where it wanted to go");
    let (returned, peer, local) = accepted(&scene.app);
    assert_eq!(Some(returned), dialled.local, "the app sees the real client");
    assert_eq!((peer, local), (dialled.local, address));
    for line in [web.log.outbound(address), db.log.inbound(address)] {
        assert_eq!(line.tier, "tunnel", "{line:?}");
        assert_eq!(line.source_principal, Some(identity("web")));
        assert_eq!(line.destination_principal, Some(identity("db")));
        assert_eq!((line.bytes_sent, line.bytes_received), (5, 9));
    }
    assert_eq!(web.log.outbound(address).trace_id, db.log.inbound(address).trace_id);
}

#[test]
fn apps_notice_nothing_of_the_tunnel_between_them() {
    needs_capture!(Need::Ipv6);
    let scene = Scene::new();
    let (web, db) = scene.sidecars();
    is_tunnelled(&scene, &web, &db, scene.server.v4(8080));
    is_tunnelled(&scene, &web, &db, scene.server.v6(8080));
    for sidecar in [&web, &db] {
        assert!(sidecar.process.stop(Signal::SIGTERM).success());
    }
    leftovers::none(&scene.client);
    leftovers::none(&scene.server);
}

#[test]
fn a_tunnel_works_where_iptables_captures() {
    needs_capture!(Need::Tool("iptables"));
    let scene = Scene::new();
    let iptables = json!({ "mode": "iptables" });
    let web = Sidestep::sidecar(&scene.client, &scene.web().with("capture", iptables.clone()));
    let db = Sidestep::sidecar(&scene.server, &scene.db().with("capture", iptables));
    let dialled = connect(&scene.client, &format!("{} --send hello", scene.server.v4(8080)));
    assert_eq!(dialled.read, "app\nhello", "{dialled:?}");
    assert_eq!(web.log.outbound(scene.server.v4(8080)).tier, "tunnel");
    assert_eq!(db.log.inbound(scene.server.v4(8080)).source_principal, Some(identity("web")));
}

#[test]
fn a_burst_of_connections_shakes_hands_once() {
    needs_capture!();
    let scene = Scene::new();
    let (web, db) = scene.sidecars();
    let (held, _keep) = scene.hold(60);
    assert_eq!(dials(&web, "opened"), 1.0);
    assert_eq!(db.metric(TUNNELS, &[("direction", "inbound"), ("outcome", "opened")]), 1.0);
    held.hang_up();
}

#[test]
fn what_is_known_of_the_mesh_changes_while_it_runs() {
    needs_capture!();
    let scene = Scene::new();
    let (web, _db) = scene.sidecars();
    let plain = scene.mesh.member(Config::of(&scene.client), "web");
    let line = format!("{} --send hello", scene.server.v4(8080));
    let mut tiers = Vec::new();
    for config in [&plain, &scene.web()] {
        web.configure(config);
        let wanted = if tiers.is_empty() { "relay" } else { "tunnel" };
        eventually(&format!("connections go by {wanted}"), || {
            assert_eq!(connect(&scene.client, &line).read, "app\nhello");
            let tier = web.log.lines().pop().map(|line| line.tier);
            if tier.as_deref() == Some(wanted) { Ok(()) } else { Err(tier) }
        });
        tiers.push(wanted);
    }
}

#[test]
fn a_virtual_address_leads_to_an_endpoint_and_what_is_unknown_may_be_refused() {
    needs_capture!();
    let scene = Scene::new();
    let service = json!([{
        "hostname": "db.shop.svc.cluster.local",
        "addresses": ["10.96.0.10"],
        "ports": [{ "port": 5432, "target-port": 8080 }],
        "endpoints": [scene.server.v4(0).ip()],
    }]);
    let config = scene.web().with("services", service).with("outbound", json!({ "unknown": "refuse" }));
    let web = Sidestep::sidecar(&scene.client, &config);
    let _db = Sidestep::sidecar(&scene.server, &scene.db());
    let dialled = connect(&scene.client, "10.96.0.10:5432 --send hello");
    assert_eq!(dialled.read, "app\nhello", "{dialled:?}");
    let line = web.log.outbound("10.96.0.10:5432".parse().unwrap());
    assert_eq!((line.tier.as_str(), line.upstream), ("tunnel", Some(scene.server.v4(15008))));
    for (to, reason) in [("10.96.0.10:80", "no_endpoint"), ("10.77.0.200:80", "unknown_destination")] {
        let dialled = connect(&scene.client, &format!("{to} --send hello"));
        assert!(dialled.read.is_empty(), "{dialled:?}");
        let line = web.log.outbound(to.parse().unwrap());
        assert_eq!((line.verdict.as_str(), line.reason.as_str()), ("deny", reason));
    }
}

#[test]
fn under_strict_the_tunnel_is_the_only_way_in() {
    needs_capture!();
    let scene = Scene::new();
    scene.mesh.hold_to(&sidestep_tests::mesh::policy("{ mtls: { mode: STRICT } }"));
    let db = Sidestep::sidecar(&scene.server, &scene.db());
    let line = format!("{} --send hello", scene.server.v4(8080));
    assert_eq!(connect(&scene.client, &line).refused.as_deref(), Some("ECONNREFUSED"));
    db.counted("inbound", "deny", "plain_text", 1);
    let _web = Sidestep::sidecar(&scene.client, &scene.web());
    eventually_dials("the tunnel leads in", &scene.client, &line, |dialled| dialled.read == "app\nhello");
}

#[test]
fn a_take_over_at_either_end_loses_no_connection() {
    needs_capture!();
    let scene = Scene::new();
    let (web, db) = scene.sidecars();
    let line = format!("{} --send hello", scene.server.v4(8080));
    assert_eq!(connect(&scene.client, &line).read, "app\nhello");
    let (held, _keep) = scene.hold(1);
    let next_db = Sidestep::sidecar(&scene.server, &scene.db().on_admin_port(15022));
    let next_web = Sidestep::sidecar(&scene.client, &scene.web().on_admin_port(15022));
    for _ in 0..20 {
        assert_eq!(connect(&scene.client, &line).read, "app\nhello");
    }
    assert!(dials(&next_web, "opened") >= 1.0);
    assert!(held.status().is_none(), "the held connection was cut by the take-over");
    held.hang_up();
    held.succeed();
    for old in [web, db] {
        assert!(old.process.ended().success());
    }
    drop((next_web, next_db));
}

#[test]
fn the_workloads_certificate_is_shown() {
    needs_capture!();
    let scene = Scene::new();
    let db = Sidestep::sidecar(&scene.server, &scene.db());
    let (status, body) = db.http("/certs").unwrap();
    assert_eq!(status, 200, "{body}");
    let standing: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(standing["identity"], identity("db"));
    assert!(db.metric("sidestep_certificate_expiry_timestamp_seconds", &[]) > 1.7e9);
    let shown = scene
        .server
        .sidecar()
        .start(sidestep_tests::sidestep::binary(), ["certs", "--admin", "127.0.0.1:15021"]);
    shown.succeed();
    let shown = shown.stdout().join("\n");
    assert!(shown.contains(&identity("db")), "{shown}");
    assert!(shown.contains(NAMESPACE));
    let plain = Sidestep::sidecar(&scene.client, &Config::of(&scene.client));
    assert_eq!(plain.http("/certs").unwrap().0, 404);
}
