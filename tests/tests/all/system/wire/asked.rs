//! A foreign client at Sidestep's tunnel.

use std::collections::BTreeMap;

use serde::Deserialize;
use sidestep_tests::mesh::{Credentials, identity};
use sidestep_tests::{Config, Mesh, Need, Pod, Process, Sidestep, needs_capture};

use super::{Foreign, ask};
use crate::ask::{accepted, echo};

/// A foreign client's pod, and a pod served by Sidestep with an app on 8080.
pub(super) struct Scene {
    pub(super) client: Pod,
    pub(super) server: Pod,
    pub(super) mesh: Mesh,
    pub(super) app: Process,
    pub(super) credentials: Credentials,
}

impl Scene {
    pub(super) fn new() -> Self {
        let (client, server) = Pod::pair();
        let app = echo(&server, "app", server.v4(8080), "");
        let mesh = Mesh::new();
        let credentials = mesh.issue("foreign");
        Self { client, server, mesh, app, credentials }
    }

    pub(super) fn config(&self) -> Config {
        self.mesh.member(Config::of(&self.server), "web")
    }

    pub(super) fn sidecar(&self) -> Sidestep<'_> {
        Sidestep::sidecar(&self.server, &self.config())
    }

    /// Runs a scenario against the tunnel with the scene's credentials.
    pub(super) fn ask<T: for<'a> Deserialize<'a>>(&self, flags: &str, scenario: &str, target: &str) -> T {
        self.ask_with(Some(&self.credentials), flags, scenario, target)
    }

    pub(super) fn ask_with<T: for<'a> Deserialize<'a>>(
        &self,
        credentials: Option<&Credentials>,
        flags: &str,
        scenario: &str,
        target: &str,
    ) -> T {
        ask(self.client.app(), credentials, &format!("{} {flags} {scenario} {target}", self.address()))
    }

    pub(super) fn start(&self, scenario: &str, target: &str) -> Foreign {
        let line = format!("{} {scenario} {target}", self.address());
        Foreign::start(self.client.app(), "client.py", Some(&self.credentials), &line)
    }

    pub(super) fn target(&self) -> String {
        self.server.v4(8080).to_string()
    }

    fn address(&self) -> String {
        format!("--address {}", self.server.v4(15008))
    }
}

/// What a handshake came to.
#[derive(Debug, Deserialize)]
pub(super) struct Shaken {
    pub(super) handshake: Option<String>,
    #[serde(default)]
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) cipher: Option<String>,
    #[serde(default)]
    pub(super) alpn: Option<String>,
    #[serde(default)]
    pub(super) peer: Vec<String>,
    #[serde(default)]
    pub(super) settings: Option<BTreeMap<String, u64>>,
    #[serde(default)]
    pub(super) window: u64,
    #[serde(default)]
    pub(super) tickets: bool,
    /// Why the connection is over, if it is: TLS 1.3 tells a client only afterwards that its certificate is not taken.
    #[serde(default)]
    pub(super) closed: Option<String>,
}

impl Shaken {
    /// Whether the other end took us for somebody.
    pub(super) const fn was_let_in(&self) -> bool {
        self.handshake.is_none() && self.closed.is_none() && self.settings.is_some()
    }
}

/// What one stream came to.
#[derive(Debug, Deserialize)]
struct Answer {
    status: Option<String>,
    #[serde(default)]
    headers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    heard: String,
}

#[test]
fn the_handshake_and_the_settings_are_those_of_the_mesh() {
    needs_capture!(Need::ForeignHttp2);
    let scene = Scene::new();
    let _sidecar = scene.sidecar();
    let shaken: Shaken = scene.ask("", "handshake", "");
    assert!(shaken.was_let_in(), "{shaken:?}");
    assert_eq!(shaken.version.as_deref(), Some("TLSv1.3"));
    assert!(
        shaken.cipher.as_deref().is_some_and(|cipher| cipher.contains("AES") && cipher.contains("GCM")),
        "{shaken:?}"
    );
    assert_eq!(shaken.alpn.as_deref(), Some("h2"));
    assert_eq!(shaken.peer, [identity("web")]);
    assert!(!shaken.tickets, "no session can be resumed");
    let settings = shaken.settings.unwrap_or_default();
    assert_eq!(settings["initial_window_size"], 4 << 20);
    assert_eq!(settings["max_frame_size"], 1 << 20);
    assert_eq!(settings["max_header_list_size"], 64 << 10);
    assert_eq!(settings["max_concurrent_streams"], 200);
    assert_eq!(shaken.window, 16 << 20);
}

#[test]
fn an_absent_alpn_is_taken_and_http_1_alone_and_tls_1_2_are_not() {
    needs_capture!(Need::ForeignHttp2);
    let scene = Scene::new();
    let _sidecar = scene.sidecar();
    let absent: Shaken = scene.ask("--alpn none", "handshake", "");
    assert!(absent.was_let_in(), "{absent:?}");
    let several: Shaken = scene.ask("--alpn http/1.1,h2", "handshake", "");
    assert_eq!(several.alpn.as_deref(), Some("h2"), "{several:?}");
    let old: Shaken = scene.ask("--alpn http/1.1", "handshake", "");
    assert!(
        old.handshake.as_deref().is_some_and(|error| error.contains("no application protocol")),
        "{old:?}"
    );
    let older: Shaken = scene.ask("--tls 1.2", "handshake", "");
    assert!(older.handshake.as_deref().is_some_and(|error| error.contains("protocol version")), "{older:?}");
}

#[test]
fn a_connect_reaches_the_app_and_the_answer_says_who_serves_it() {
    needs_capture!(Need::ForeignHttp2);
    let scene = Scene::new();
    let sidecar = scene.sidecar();
    let answer: Answer = scene.ask("", "echo", &scene.target());
    assert_eq!((answer.status.as_deref(), answer.heard.as_str()), (Some("200"), "app\nhello"), "{answer:?}");
    let headers = answer.headers.unwrap_or_default();
    assert!(headers["baggage"].contains("k8s.namespace.name=shop"), "{headers:?}");
    // The client of another address is not believed, the one that the network tells is.
    let (seen, _, local) = accepted(&scene.app);
    assert_eq!((seen.ip(), local), (scene.client.v4(0).ip(), scene.server.v4(8080)));
    let line = sidecar.log.inbound(scene.server.v4(8080));
    assert_eq!(
        (line.tier.as_str(), line.reason.as_str(), line.verdict.as_str()),
        ("tunnel", "tunnel", "proxy")
    );
    assert_eq!(line.source_principal, Some(identity("foreign")));
    assert_eq!(line.destination_principal, Some(identity("web")));
    assert_eq!(line.peer_workload.as_deref(), Some("abroad/foreign-0"));
    assert_eq!(line.trace_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_eq!((line.bytes_sent, line.bytes_received), (5, 9));
    sidecar.counted("inbound", "proxy", "tunnel", 1);
}

/// What several requests were answered.
#[derive(Debug, Deserialize)]
struct Statuses {
    statuses: Vec<String>,
}

#[test]
fn every_kind_of_request_has_its_answer() {
    needs_capture!(Need::ForeignHttp2);
    let scene = Scene::new();
    let sidecar = scene.sidecar();
    let (own, closed) = (scene.server.v4(0).ip(), scene.server.v4(8081));
    let questions = [
        ("CONNECT", scene.target(), "200"),
        ("CONNECT", closed.to_string(), "503"),
        ("CONNECT", format!("{own}:15001"), "503"),
        ("CONNECT", format!("{own}:15006"), "503"),
        ("CONNECT", format!("{own}:15008"), "503"),
        ("CONNECT", format!("{}:8080", scene.client.v4(0).ip()), "400"),
        ("CONNECT", "127.0.0.1:8080".to_owned(), "400"),
        ("CONNECT", "web.shop.svc.cluster.local:8080".to_owned(), "400"),
        ("CONNECT", own.to_string(), "400"),
        ("GET", scene.target(), "400"),
        ("POST", scene.target(), "400"),
    ];
    let words: Vec<String> =
        questions.iter().map(|(method, target, _)| format!("{method}={target}")).collect();
    let answers: Statuses = scene.ask("", "statuses", &words.join(","));
    for ((method, target, expected), found) in questions.iter().zip(&answers.statuses) {
        assert_eq!(found, expected, "{method} {target}");
    }
    let refused = sidecar.log.lines().into_iter().filter(|line| line.verdict == "deny").count();
    assert_eq!(refused, 9, "each refusal is told");
}

#[test]
fn either_end_may_close_first_and_a_reset_is_a_reset() {
    needs_capture!(Need::ForeignHttp2);
    let scene = Scene::new();
    let sidecar = scene.sidecar();
    let reset: Answer = scene.ask("", "reset", &scene.target());
    assert_eq!(reset.status.as_deref(), Some("200"));
    let line = sidecar.log.inbound(scene.server.v4(8080));
    assert_eq!(line.error_side.as_deref(), Some("peer"), "{line:?}");
}

/// An error code of RFC 9113, section 7.
const REFUSED_STREAM: u32 = 7;

/// What a full connection came to.
#[derive(Debug, Deserialize)]
struct Full {
    accepted: usize,
    /// The error code that the one too many was reset with.
    refused: Option<u32>,
}

#[test]
fn two_hundred_streams_are_taken_and_one_more_is_not() {
    needs_capture!(Need::ForeignHttp2);
    let scene = Scene::new();
    let _sidecar = scene.sidecar();
    let full: Full = scene.ask("", "many", &scene.target());
    assert_eq!((full.accepted, full.refused), (200, Some(REFUSED_STREAM)));
}

#[test]
fn a_stop_says_farewell_and_lets_streams_end() {
    needs_capture!(Need::ForeignHttp2);
    let scene = Scene::new();
    let sidecar = scene.sidecar();
    let client = scene.start("drained", &scene.target());
    assert_eq!(client.tells("ready")["ready"], "200");
    sidecar.process.signal(nix::sys::signal::Signal::SIGTERM);
    let told = client.tells("goaway");
    assert_eq!(told["goaway"]["error"], 0, "{told}");
    assert_eq!(told["alive"], true, "{told}");
    assert_eq!(told["heard"], "app\nlast words", "{told}");
    assert!(sidecar.process.ended().success());
}
