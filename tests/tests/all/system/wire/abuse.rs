//! Foreign ends that misbehave: memory and processor stay bounded, and everybody else is served meanwhile.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use sidestep_tests::{Need, Sidestep, needs_capture};

use super::asked::Scene;

/// How much memory an abuse may cost, in KiB.
const MOST: u64 = 8 << 10;

/// What an abuser saw.
#[derive(Debug, Deserialize)]
struct Abused {
    #[serde(default)]
    sent: u64,
    #[serde(default)]
    goaway: Option<Value>,
    #[serde(default)]
    closed: Option<String>,
}

impl Abused {
    fn was_stopped(&self) -> bool {
        self.goaway.is_some() || self.closed.is_some()
    }
}

/// Runs a scenario, and checks what it cost and that others were served.
fn abuse(scenario: &str) -> Abused {
    let scene = Scene::new();
    let sidecar = scene.sidecar();
    // What the first connection costs is not the abuse's.
    let _warm: Value = scene.ask("", "echo", &scene.target());
    let before = sidecar.process.own_kib();
    let client = scene.start(scenario, &scene.target());
    let answered: Value = scene.ask("", "echo", &scene.target());
    assert_eq!(answered["status"], "200", "somebody else during {scenario}");
    client.0.succeed();
    let cost = sidecar.process.own_kib().saturating_sub(before);
    assert!(cost <= MOST, "{scenario} cost {cost} KiB");
    let lines = client.0.stdout();
    let last = lines.last().cloned().unwrap_or_default();
    serde_json::from_str(&last).unwrap_or_else(|error| panic!("{scenario} told {last}: {error}"))
}

#[test]
fn streams_that_are_reset_at_once_end_the_connection() {
    needs_capture!(Need::ForeignHttp2);
    let abused = abuse("rapid-reset");
    assert!(abused.was_stopped() && abused.sent < 20_000, "{abused:?}");
}

#[test]
fn a_head_without_end_ends_the_connection() {
    needs_capture!(Need::ForeignHttp2);
    let abused = abuse("continuation-flood");
    assert!(abused.was_stopped() && abused.sent < 2_000, "{abused:?}");
}

#[test]
fn empty_frames_end_the_connection() {
    needs_capture!(Need::ForeignHttp2);
    let abused = abuse("empty-data");
    assert!(abused.was_stopped(), "{abused:?}");
}

#[test]
fn pings_and_settings_cost_no_memory() {
    needs_capture!(Need::ForeignHttp2);
    abuse("pings");
    abuse("settings-flood");
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    needs_capture!(Need::ForeignHttp2);
    let scene = Scene::new();
    let _sidecar = scene.sidecar();
    let answer: Value = scene.ask("", "huge-header", &scene.target());
    assert_ne!(answer["status"], "200", "{answer}");
    let well: Value = scene.ask("", "echo", &scene.target());
    assert_eq!(well["status"], "200");
}

#[test]
fn a_reader_that_takes_nothing_holds_one_window_and_loses_nothing() {
    needs_capture!(Need::ForeignHttp2);
    let scene = Scene::new();
    let target = scene.server.v4(8090);
    let length = 32_u64 << 20;
    let source = scene.server.app().start(
        "python3",
        ["-c".to_owned(), format!(
            "import socket\nlistener = socket.create_server(('{}', {}))\nprint('up', flush=True)\nstream, _ = listener.accept()\nstream.sendall(bytes({length}))\nstream.close()",
            target.ip(), target.port()
        )],
    );
    source.line("that it listens", |line| (line == "up").then_some(()));
    let sidecar = scene.sidecar();
    let before = sidecar.process.own_kib();
    let client = scene.start("slow-reader", &target.to_string());
    assert_eq!(client.tells("ready")["ready"], "200");
    let cost = sidecar.process.own_kib().saturating_sub(before);
    assert!(cost <= MOST, "a slow reader cost {cost} KiB");
    client.0.say("go on\n");
    assert_eq!(client.tells("heard")["heard"], length);
    source.succeed();
}

#[test]
fn a_writer_that_nobody_reads_from_is_held_back() {
    needs_capture!(Need::ForeignHttp2);
    let scene = Scene::new();
    let stalled =
        crate::ask::listening(scene.server.app().peer(&format!("stall --listen {}", scene.server.v4(8091))));
    let sidecar: Sidestep<'_> = scene.sidecar();
    let before = sidecar.process.own_kib();
    let answer: Value = scene.ask("", "fast-writer", &scene.server.v4(8091).to_string());
    let cost = sidecar.process.own_kib().saturating_sub(before);
    assert_eq!(answer["status"], "200", "{answer}");
    let sent = answer["sent"].as_u64().unwrap_or(u64::MAX);
    assert!(sent < 64 << 20, "{sent} bytes were taken though nobody reads");
    assert!(cost <= MOST, "a fast writer cost {cost} KiB");
    drop(stalled);
}

#[test]
fn an_end_that_has_gone_without_a_word_is_noticed() {
    needs_capture!(Need::ForeignHttp2, Need::Speed);
    let scene = Scene::new();
    let _sidecar = scene.sidecar();
    let client = scene.start("silence", &scene.target());
    assert_eq!(client.tells("ready")["ready"], "200");
    let after = client.tells_within(Duration::from_secs(60), "after")["after"].as_f64().unwrap_or(f64::MAX);
    assert!((15.0..45.0).contains(&after), "cut off after {after} s; pings go out every 10 and may take 20");
}
