//! Authorization policies as far as addresses and ports decide: refused in the kernel, before a byte is accepted.

use serde_json::json;
use sidestep_tests::mesh::authorization;
use sidestep_tests::peer::Dialled;
use sidestep_tests::{Config, Mesh, Need, Pod, Process, Sidestep, eventually, needs_capture, sidestep};

use crate::ask::{connect, echo, eventually_dials};

/// A client with two addresses of each family, and a server whose app listens on 8080 and 8081.
struct Scene {
    client: Pod,
    server: Pod,
    mesh: Mesh,
    _app: Process,
}

impl Scene {
    fn with(policies: &str) -> Self {
        let (mut client, server) = Pod::pair();
        client.add_address("10.77.0.3/24");
        client.add_address("fd77::3/64");
        let more = format!("--listen {} --listen {}", server.v4(8081), server.v6(8080));
        let app = echo(&server, "app", server.v4(8080), &more);
        let mesh = Mesh::new();
        mesh.hold_to(policies);
        let scene = Self { client, server, mesh, _app: app };
        // So that the neighbours know each other: the first SYN of all may be lost while they ask.
        for address in [scene.server.v4(8080), scene.server.v6(8080)] {
            assert!(is_answered(&connect(&scene.client, &format!("{address} --send hello"))));
        }
        scene
    }

    fn config(&self) -> Config {
        self.mesh.member(Config::of(&self.server), "web")
    }

    fn from(&self, client: &str, port: u16) -> Dialled {
        connect(&self.client, &self.line(client, port))
    }

    fn line(&self, client: &str, port: u16) -> String {
        let six = client.contains(':');
        let server = if six { self.server.v6(port) } else { self.server.v4(port) };
        let client = if six { format!("[{client}]") } else { client.to_owned() };
        format!("{server} --bind {client}:0 --send hello")
    }
}

fn is_answered(dialled: &Dialled) -> bool {
    dialled.read == "app\nhello"
}

fn is_refused(dialled: &Dialled) -> bool {
    dialled.refused.as_deref() == Some("ECONNREFUSED")
}

fn deny(name: &str, rules: &str) -> String {
    authorization(name, &format!("{{ action: DENY, rules: [{rules}] }}"))
}

fn allow(name: &str, rules: &str) -> String {
    authorization(name, &format!("{{ action: ALLOW, rules: [{rules}] }}"))
}

#[test]
fn who_is_denied_by_address_is_refused_before_a_byte_is_accepted() {
    needs_capture!(Need::Ipv6);
    let scene =
        Scene::with(&deny("callers", "{ from: [{ source: { ipBlocks: [10.77.0.3, \"fd77::3\"] } }] }"));
    let sidestep = Sidestep::sidecar(&scene.server, &scene.config());
    for (client, server) in [("10.77.0.3", scene.server.v4(8080)), ("fd77::3", scene.server.v6(8080))] {
        let dialled = scene.from(client, 8080);
        assert!(is_refused(&dialled), "{client}: {dialled:?}");
        // A SYN that is not answered is sent again after a second.
        assert!(dialled.connect_us < 900_000, "{client} refused only after {} µs", dialled.connect_us);
        let line = sidestep.log.inbound(server);
        assert_eq!((line.verdict.as_str(), line.reason.as_str()), ("deny", "policy"), "{line:?}");
        assert_eq!(line.source.map(|source| source.ip().to_string()).as_deref(), Some(client));
        assert_eq!((line.tier.as_str(), line.upstream), ("direct", None));
        assert_eq!(
            line.more["policy"], "shop/callers[0]",
            "the kernel knows no names, and they are told all the same"
        );
    }
    sidestep.counted("inbound", "deny", "policy", 2);
    for client in ["10.77.0.1", "fd77::1"] {
        let dialled = scene.from(client, 8080);
        assert!(is_answered(&dialled), "{client}: {dialled:?}");
    }
    sidestep.counted("inbound", "proxy", "rule", 2);
}

#[test]
fn who_is_not_among_those_that_are_allowed_is_refused_before_a_byte_is_accepted() {
    needs_capture!(Need::Ipv6);
    let rules = "{ from: [{ source: { ipBlocks: [10.77.0.1, \"fd77::1\"] } }], to: [{ operation: { ports: [\"8080\"] } }] }";
    let scene = Scene::with(&allow("callers", rules));
    let sidestep = Sidestep::sidecar(&scene.server, &scene.config());
    for (client, port, answered) in [
        ("10.77.0.1", 8080, true),
        ("fd77::1", 8080, true),
        ("10.77.0.1", 8081, false),
        ("10.77.0.3", 8080, false),
        ("fd77::3", 8080, false),
    ] {
        let dialled = scene.from(client, port);
        assert_eq!((is_answered(&dialled), is_refused(&dialled)), (answered, !answered), "{client} {port}");
    }
    sidestep.counted("inbound", "deny", "policy", 3);
    sidestep.counted("inbound", "proxy", "rule", 2);
}

#[test]
fn everybody_in_plain_text_is_refused_where_an_identity_is_asked_for() {
    needs_capture!();
    let scene = Scene::with(&allow("shop", "{ from: [{ source: { namespaces: [shop] } }] }"));
    let sidestep = Sidestep::sidecar(&scene.server, &scene.config());
    assert!(is_refused(&scene.from("10.77.0.1", 8080)));
    sidestep.counted("inbound", "deny", "policy", 1);
    assert_eq!(sidestep.metric(sidestep::VERDICTS, &[("direction", "inbound"), ("verdict", "proxy")]), 0.0);
}

#[test]
fn whoever_comes_to_the_tunnel_is_heard_whatever_holds_for_plain_text() {
    needs_capture!();
    let scene = Scene::with(&authorization("nobody", "{}"));
    let sidestep = Sidestep::sidecar(&scene.server, &scene.config());
    let dialled = scene.from("10.77.0.1", 15008);
    assert_eq!((dialled.refused.as_deref(), dialled.peer), (None, Some(scene.server.v4(15008))));
    sidestep.counted("inbound", "proxy", "tunnel", 1);
    assert!(is_refused(&scene.from("10.77.0.1", 8080)));
    sidestep.counted("inbound", "deny", "policy", 1);
}

#[test]
fn a_probed_port_is_never_decided_in_the_kernel() {
    needs_capture!();
    let scene = Scene::with(&authorization("nobody", "{}"));
    let probes = json!({ "probes": [{ "port": 8080, "from": ["10.77.0.1/32"] }] });
    let sidestep = Sidestep::sidecar(&scene.server, &scene.config().with("inbound", probes));
    let dialled = scene.from("10.77.0.1", 8080);
    assert_eq!(dialled.refused, None, "{dialled:?}");
    sidestep.counted("inbound", "proxy", "rule", 1);
    assert!(is_refused(&scene.from("10.77.0.1", 8081)));
    sidestep.counted("inbound", "deny", "policy", 1);
}

#[test]
fn what_the_workload_calls_of_its_own_passes_whatever_the_policies_say() {
    needs_capture!();
    let scene = Scene::with(&authorization("nobody", "{}"));
    let sidestep = Sidestep::sidecar(&scene.server, &scene.config());
    let own = connect(&scene.server, &format!("{} --send hello", scene.server.v4(8080)));
    assert!(is_answered(&own), "{own:?}");
    sidestep.counted("inbound", "direct", "own_address", 1);
}

#[test]
fn a_change_of_the_policies_takes_effect_both_ways_and_a_broken_one_does_not() {
    needs_capture!();
    const BLOCK: &str = "{ from: [{ source: { ipBlocks: [10.77.0.3] } }] }";
    let scene = Scene::with("");
    let sidestep = Sidestep::sidecar(&scene.server, &scene.config());
    let line = scene.line("10.77.0.3", 8080);
    assert!(is_answered(&connect(&scene.client, &line)));
    scene.mesh.hold_to(&deny("callers", BLOCK));
    eventually_dials("who is denied now is refused", &scene.client, &line, is_refused);

    scene.mesh.hold_to(&deny("callers", "{ from: [{ source: { ipBlocks: [10.77.0.300] } }] }"));
    eventually("the mistake is told", || {
        let said = sidestep.process.stderr();
        if said.contains("10.77.0.300") { Ok(()) } else { Err(said) }
    });
    assert!(is_refused(&scene.from("10.77.0.3", 8080)));

    scene.mesh.hold_to("");
    eventually_dials("everybody is let in again", &scene.client, &line, is_answered);
}

#[test]
fn ten_thousand_prefixes_hold_in_the_kernel() {
    needs_capture!(Need::Speed);
    let scene = Scene::with(&many(100, 100));
    let sidestep = Sidestep::sidecar(&scene.server, &scene.config());
    assert!(is_answered(&scene.from("10.77.0.1", 8080)));
    assert!(is_refused(&scene.from("10.77.0.3", 8080)));
    sidestep.counted("inbound", "deny", "policy", 1);
}

/// So many policies, each about so many callers; the last is about 10.77.0.3.
fn many(count: u32, callers: u32) -> String {
    let mut policies = String::new();
    for index in 1..=count {
        let blocks = (0..callers).map(|caller| {
            let [_, a, b, c] = ((index * callers + caller) * 7919).to_be_bytes();
            format!("10.{a}.{b}.{c}")
        });
        let blocks = blocks.collect::<Vec<_>>().join(", ");
        let rule = format!("{{ from: [{{ source: {{ ipBlocks: [{blocks}] }} }}] }}");
        policies.push_str(&deny(&format!("policy-{index}"), &rule));
    }
    policies + &deny("last", "{ from: [{ source: { ipBlocks: [10.77.0.3] } }] }")
}
