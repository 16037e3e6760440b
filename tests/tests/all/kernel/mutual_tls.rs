//! Plain text where mutual TLS is demanded, and the port of the tunnel: decided in the kernel as far as it can know.

use nix::sys::signal::Signal;
use serde_json::json;
use sidestep_tests::mesh::policy;
use sidestep_tests::peer::Dialled;
use sidestep_tests::{
    Access, Config, Mesh, Need, Pod, Process, Sidestep, eventually, needs_capture, sidestep,
};

use crate::ask::{connect, echo, eventually_dials};

const STRICT: &str = "{ mtls: { mode: STRICT } }";
const PERMISSIVE: &str = "{ mtls: { mode: PERMISSIVE } }";
const DISABLE: &str = "{ mtls: { mode: DISABLE } }";

/// A client, and a server whose app listens on 8080 and 8081 and is called after its pod.
struct Scene {
    client: Pod,
    server: Pod,
    mesh: Mesh,
    _app: Process,
}

impl Scene {
    fn with(policies: &str) -> Self {
        let (client, server) = Pod::pair();
        let more = format!("--listen {} --listen {}", server.v4(8081), server.v6(8080));
        let app = echo(&server, "app", server.v4(8080), &more);
        let mesh = Mesh::new();
        mesh.hold_to(policies);
        Self { client, server, mesh, _app: app }
    }

    fn config(&self) -> Config {
        self.mesh.member(Config::of(&self.server), "web")
    }

    fn dial(&self, port: u16) -> Dialled {
        connect(&self.client, &self.line(port))
    }

    fn line(&self, port: u16) -> String {
        format!("{} --send hello", self.server.v4(port))
    }

    /// Waits until dialling the app goes as `wanted` says.
    fn eventually(&self, what: &str, wanted: fn(&Dialled) -> bool) {
        eventually_dials(what, &self.client, &self.line(8080), wanted);
    }
}

fn is_answered(dialled: &Dialled) -> bool {
    dialled.read == "app\nhello"
}

fn is_refused(dialled: &Dialled) -> bool {
    dialled.refused.as_deref() == Some("ECONNREFUSED")
}

fn is_told_as_plain_text(line: &Access) -> bool {
    (line.direction.as_str(), line.verdict.as_str(), line.reason.as_str())
        == ("inbound", "deny", "plain_text")
}

#[test]
fn plain_text_is_refused_at_once_where_mutual_tls_is_demanded() {
    needs_capture!(Need::Ipv6);
    let scene = Scene::with(&policy(STRICT));
    // So that the neighbours know each other: the first SYN of all may be lost while they ask.
    for address in [scene.server.v4(8080), scene.server.v6(8080)] {
        assert!(is_answered(&connect(&scene.client, &format!("{address} --send hello"))));
    }
    let sidestep = Sidestep::sidecar(&scene.server, &scene.config());
    for (address, client) in
        [(scene.server.v4(8080), scene.client.v4(0)), (scene.server.v6(8080), scene.client.v6(0))]
    {
        let dialled = connect(&scene.client, &format!("{address} --send hello"));
        assert!(is_refused(&dialled), "{dialled:?}");
        // A SYN that is not answered is sent again after a second.
        assert!(dialled.connect_us < 900_000, "{address} refused only after {} µs", dialled.connect_us);
        let line = sidestep.log.inbound(address);
        assert!(is_told_as_plain_text(&line), "{line:?}");
        let source = line.source.unwrap_or_else(|| panic!("nobody called: {line:?}"));
        assert_eq!(source.ip(), client.ip());
        assert_ne!(source.port(), 0);
        assert_eq!((line.tier.as_str(), line.upstream), ("direct", None));
    }
    sidestep.counted("inbound", "deny", "plain_text", 2);
    assert_eq!(sidestep.metric(sidestep::VERDICTS, &[("direction", "inbound"), ("verdict", "proxy")]), 0.0);
}

#[test]
fn plain_text_is_taken_where_it_is_permitted_or_mutual_tls_disabled() {
    needs_capture!();
    for policies in ["".to_owned(), policy(PERMISSIVE), policy(DISABLE)] {
        let scene = Scene::with(&policies);
        let sidestep = Sidestep::sidecar(&scene.server, &scene.config());
        let dialled = scene.dial(8080);
        assert!(is_answered(&dialled), "{policies}: {dialled:?}");
        assert_eq!(sidestep.log.inbound(scene.server.v4(8080)).source, dialled.local);
        sidestep.counted("inbound", "proxy", "rule", 1);
    }
}

#[test]
fn a_port_stands_above_its_workload() {
    needs_capture!();
    for (workload, port, taken, refused) in
        [("STRICT", "{ mode: DISABLE }", 8081, 8080), ("PERMISSIVE", "{ mode: STRICT }", 8080, 8081)]
    {
        let scene = Scene::with(&policy(&format!(
            "{{ selector: {{ matchLabels: {{ app: web }} }}, mtls: {{ mode: {workload} }}, portLevelMtls: {{ 8081: {port} }} }}"
        )));
        let sidestep = Sidestep::sidecar(&scene.server, &scene.config());
        let dialled = scene.dial(taken);
        assert!(is_answered(&dialled), "{dialled:?}");
        let dialled = scene.dial(refused);
        assert!(is_refused(&dialled), "{dialled:?}");
        sidestep.counted("inbound", "deny", "plain_text", 1);
    }
}

#[test]
fn a_policy_for_others_is_not_for_us() {
    needs_capture!();
    let scene = Scene::with(&policy("{ selector: { matchLabels: { app: db } }, mtls: { mode: STRICT } }"));
    let _sidestep = Sidestep::sidecar(&scene.server, &scene.config());
    assert!(is_answered(&scene.dial(8080)));
}

#[test]
fn a_probe_passes_from_its_network_to_its_port_and_nothing_else_does() {
    needs_capture!();
    let mut scene = Scene::with(&policy(STRICT));
    scene.client.add_address("10.77.0.3/24");
    let probes = json!({ "probes": [{ "port": 8080, "from": ["10.77.0.3/32"] }] });
    let sidestep = Sidestep::sidecar(&scene.server, &scene.config().with("inbound", probes));
    let from =
        |client: &str, port| connect(&scene.client, &format!("{} --bind {client}:0", scene.line(port)));
    let dialled = from("10.77.0.3", 8080);
    assert!(is_answered(&dialled), "{dialled:?}");
    sidestep.log.inbound(scene.server.v4(8080));
    // The kernel does not look at who calls: the instance does.
    let dialled = from("10.77.0.1", 8080);
    assert!(!is_answered(&dialled) && (dialled.refused.is_some() || dialled.broken.is_some()), "{dialled:?}");
    let line = sidestep.log.expect("a refusal by the instance", is_told_as_plain_text);
    assert_eq!(line.source.map(|source| source.ip()), Some("10.77.0.1".parse().unwrap()));
    let dialled = from("10.77.0.3", 8081);
    assert!(is_refused(&dialled), "{dialled:?}");
    sidestep.counted("inbound", "deny", "plain_text", 1);
}

#[test]
fn a_change_of_the_policies_takes_effect_both_ways_and_a_broken_one_does_not() {
    needs_capture!();
    let scene = Scene::with(&policy(PERMISSIVE));
    let sidestep = Sidestep::sidecar(&scene.server, &scene.config());
    assert!(is_answered(&scene.dial(8080)));
    scene.mesh.hold_to(&policy(STRICT));
    scene.eventually("plain text is refused", is_refused);

    scene.mesh.hold_to(&policy("{ mtls: { mode: PERMISSIV } }"));
    let told = format!("{}:4:23: spec.mtls.mode: expected one of", scene.mesh.policies().display());
    eventually("the mistake is told", || {
        let said = sidestep.process.stderr();
        if said.contains(&told) { Ok(()) } else { Err(said) }
    });
    let dialled = scene.dial(8080);
    assert!(is_refused(&dialled), "{dialled:?}");

    scene.mesh.hold_to(&policy(PERMISSIVE));
    scene.eventually("plain text is taken again", is_answered);
}

#[test]
fn plain_text_is_refused_after_a_crash_too() {
    needs_capture!();
    let scene = Scene::with(&policy(STRICT));
    let config = scene.config().with("capture", json!({ "mode": "ebpf", "on-failure": "open" }));
    let sidestep = Sidestep::sidecar(&scene.server, &config);
    sidestep.process.stop(Signal::SIGKILL);
    assert!(is_refused(&scene.dial(8080)));
    let next = Sidestep::sidecar(&scene.server, &config);
    next.counted("inbound", "deny", "plain_text", 1);
    next.log.expect("the refusal while nobody listened", is_told_as_plain_text);
}

#[test]
fn the_port_of_the_tunnel_is_the_instances_whatever_is_captured() {
    needs_capture!(Need::Ipv6);
    let scene = Scene::with("");
    let sidestep = Sidestep::sidecar(&scene.server, &scene.config().without_inbound());
    for (count, address) in [(1, scene.server.v4(15008)), (2, scene.server.v6(15008))] {
        let dialled = connect(&scene.client, &format!("{address} --send hello"));
        // It is no TLS handshake: what happens to it there is the tunnel's to say, but somebody took it.
        assert_eq!((dialled.refused.as_deref(), dialled.peer), (None, Some(address)), "{dialled:?}");
        assert!(!is_answered(&dialled));
        sidestep.counted("inbound", "proxy", "tunnel", count);
    }
    assert!(is_answered(&scene.dial(8080)), "no other port is captured");
    sidestep.counted("inbound", "direct", "port_not_captured", 1);
}

#[test]
fn the_port_of_the_tunnel_is_any_port_without_an_identity() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _app = echo(&server, "app", server.v4(15008), "");
    let sidestep = Sidestep::sidecar(&server, &Config::of(&server));
    assert!(is_answered(&connect(&client, &format!("{} --send hello", server.v4(15008)))));
    sidestep.counted("inbound", "proxy", "rule", 1);
}

#[test]
fn iptables_capture_steers_tunnels_and_the_instance_refuses_plain_text() {
    needs_capture!(Need::Tool("iptables"), Need::Tool("ip6tables"));
    let scene = Scene::with(&policy(STRICT));
    let config = scene.config().with("capture", json!({ "mode": "iptables" }));
    let sidestep = Sidestep::sidecar(&scene.server, &config);
    let dialled = scene.dial(8080);
    assert!(!is_answered(&dialled) && (dialled.refused.is_some() || dialled.broken.is_some()), "{dialled:?}");
    let line = sidestep.log.inbound(scene.server.v4(8080));
    assert!(is_told_as_plain_text(&line), "{line:?}");
    assert_eq!(line.source.map(|source| source.ip()), Some(scene.client.v4(0).ip()));
    let dialled = scene.dial(15008);
    assert_eq!(dialled.refused, None, "nobody listens there but the instance: {dialled:?}");
    scene.mesh.hold_to(&policy(PERMISSIVE));
    scene.eventually("plain text is taken", is_answered);
}
