//! Clients of HTTP/2 that abuse it: memory stays bounded, the abuser is stopped or costs nothing, and others are served.

use serde_json::Value;
use sidestep_tests::{Need, Sidestep, eventually, needs_capture};

use super::super::server::{Server, answer};
use super::origin::{HTTP2, PAGE, nginx, url};
use super::scene::{Scene, Way};
use super::script::Script;

/// How much memory an abuse may cost, in KiB.
const MOST: u64 = 16 << 10;

/// A server with a sidecar, whose client has none.
struct Target<'a> {
    scene: &'a Scene,
    sidecar: Sidestep<'a>,
    _nginx: Server,
}

impl<'a> Target<'a> {
    fn of(scene: &'a Scene) -> Self {
        let nginx = nginx(&scene.server);
        let target = Self { scene, sidecar: scene.far(), _nginx: nginx };
        // What the first connection costs is not the abuse's.
        target.serves_others();
        target
    }

    fn serves_others(&self) {
        let page = url(self.scene.server.v4(HTTP2), "/");
        let asked = ["-sSf", "--max-time", "5", "--http2-prior-knowledge", &page];
        assert_eq!(answer(self.scene.client.app(), "curl", asked), PAGE);
    }

    /// Runs a scenario, others being served meanwhile, and checks what it cost while and after.
    fn abused_by(&self, scenario: &str) -> Abused {
        let before = self.sidecar.process.own_kib();
        let line = format!("{scenario} {}", self.scene.server.v4(HTTP2));
        let abuser = Script::start(self.scene.client.app(), "floods.py", &line);
        let mut most = before;
        while abuser.0.status().is_none() {
            self.serves_others();
            most = most.max(self.sidecar.process.own_kib());
        }
        let told: Value = abuser.result();
        let cost = most.saturating_sub(before);
        assert!(cost <= MOST, "{scenario} cost {cost} KiB: {told}");
        self.serves_others();
        eventually("its connection is over", || {
            let open = self.sidecar.metric("sidestep_connections_active", &[]);
            if open == 0.0 { Ok(()) } else { Err(open) }
        });
        Abused { told }
    }
}

/// What an abuser saw.
#[derive(Debug)]
struct Abused {
    told: Value,
}

impl Abused {
    fn was_stopped(&self) -> bool {
        !self.told["goaway"].is_null() || !self.told["closed"].is_null()
    }

    fn sent(&self) -> u64 {
        self.told["sent"].as_u64().unwrap_or(u64::MAX)
    }
}

/// Runs scenarios, each of which has to be stopped before it has sent `most` of what it sends.
fn stopped(scenarios: &[&str], most: u64) {
    let scene = Scene::of(Way::Plain);
    let target = Target::of(&scene);
    for scenario in scenarios {
        let abused = target.abused_by(scenario);
        assert!(abused.was_stopped() && abused.sent() < most, "{scenario}: {abused:?}");
    }
}

#[test]
fn streams_that_are_reset_at_once_end_the_connection() {
    needs_capture!(Need::ForeignHttp2, Need::Tool("nginx"), Need::Tool("curl"));
    stopped(&["rapid-reset", "made-you-reset", "made-you-reset-by-window"], 20_000);
}

#[test]
fn heads_that_grow_without_end_end_the_connection() {
    needs_capture!(Need::ForeignHttp2, Need::Tool("nginx"), Need::Tool("curl"));
    stopped(&["continuation-flood", "empty-continuations"], 5_000);
}

#[test]
fn a_small_head_that_unfolds_to_a_large_one_costs_nothing() {
    needs_capture!(Need::ForeignHttp2, Need::Tool("nginx"), Need::Tool("curl"));
    let scene = Scene::of(Way::Plain);
    Target::of(&scene).abused_by("hpack-bomb");
}

#[test]
fn empty_frames_end_the_connection() {
    needs_capture!(Need::ForeignHttp2, Need::Tool("nginx"), Need::Tool("curl"));
    stopped(&["empty-data"], 50_000);
}

#[test]
fn frames_that_ask_for_an_answer_or_for_nothing_cost_no_memory() {
    needs_capture!(Need::ForeignHttp2, Need::Tool("nginx"), Need::Tool("curl"));
    let scene = Scene::of(Way::Plain);
    let target = Target::of(&scene);
    for scenario in ["pings", "settings", "priorities"] {
        target.abused_by(scenario);
    }
}

#[test]
fn answers_that_nobody_reads_are_not_kept() {
    needs_capture!(Need::ForeignHttp2, Need::Tool("nginx"), Need::Tool("curl"));
    let scene = Scene::of(Way::Plain);
    let target = Target::of(&scene);
    for scenario in ["no-window", "unread"] {
        target.abused_by(scenario);
    }
}

#[test]
fn more_streams_than_allowed_are_refused() {
    needs_capture!(Need::ForeignHttp2, Need::Tool("nginx"), Need::Tool("curl"));
    let scene = Scene::of(Way::Plain);
    let abused = Target::of(&scene).abused_by("too-many");
    assert!(abused.told["most"].as_u64().is_some_and(|most| most <= 1000), "{abused:?}");
    assert!(abused.was_stopped() || abused.told["resets"].as_u64() >= Some(50), "{abused:?}");
}
