//! Clients that send too much or too slowly: bounded in time and memory, told why, and nobody else waits.

use std::time::Duration;

use serde_json::json;
use sidestep_tests::sidestep::Sidestep;
use sidestep_tests::{Need, needs_capture};

use super::super::server::{Server, answer};
use super::message::answers;
use super::origin::{HTTP1, PAGE, nginx, url};
use super::raw::{Ended, Heard, Plan, Raw};
use super::scene::{Scene, Way};

/// How long a head may take here.
const LIMIT: Duration = Duration::from_secs(2);

/// A server whose sidecar has little patience, and a client without one.
struct Target<'a> {
    scene: &'a Scene,
    sidecar: Sidestep<'a>,
    raw: Raw,
    _nginx: Server,
}

fn scene() -> Scene {
    Scene::of(Way::Plain)
        .with(json!({ "header-timeout": "2s", "idle-timeout": "3s", "max-header-size": "32KiB" }))
}

impl<'a> Target<'a> {
    fn of(scene: &'a Scene) -> Self {
        let nginx = nginx(&scene.server);
        let target = Self { scene, sidecar: scene.far(), raw: Raw::start(scene.client.app()), _nginx: nginx };
        target.serves_others();
        target
    }

    fn serves_others(&self) {
        let page = url(self.scene.server.v4(HTTP1), "/");
        assert_eq!(answer(self.scene.client.app(), "curl", ["-sSf", "--max-time", "5", &page]), PAGE);
    }

    fn exchange(&self, plan: &Plan) -> Heard {
        self.raw.exchange(self.scene.server.v4(HTTP1), plan)
    }
}

/// The statuses of what a client heard.
fn statuses(heard: &Heard) -> Vec<u16> {
    let found = answers(&heard.bytes, heard.ended == Ended::Closed).unwrap_or_default();
    found.iter().map(|answer| answer.status).collect()
}

#[test]
fn a_head_that_is_too_large_is_refused_and_told() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"), Need::Tool("python3"));
    let scene = scene();
    let target = Target::of(&scene);
    let one = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Large: {}\r\n\r\n", "x".repeat(64 << 10));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-Many: y\r\n".repeat(5000));
    let line = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(64 << 10));
    for (what, text) in [("one field", one), ("many fields", many), ("a line", line)] {
        let heard = target.exchange(&Plan::of(text.into_bytes()));
        assert!(matches!(statuses(&heard)[..], [431 | 414 | 400]), "{what}: {heard:?}");
        assert_ne!(heard.ended, Ended::Quiet, "{what}");
    }
    target.serves_others();
    // A head that was not read is no request: its connection is told.
    let refused = sidestep_tests::eventually("the refusals are told", || {
        let mut lines = target.sidecar.log.lines();
        lines.retain(|line| line.error.is_some());
        if lines.len() == 3 { Ok(lines) } else { Err(lines) }
    });
    assert!(refused.iter().all(|line| line.error_side.as_deref() == Some("peer")), "{refused:?}");
}

#[test]
fn a_head_without_end_costs_a_head() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"), Need::Tool("python3"));
    let scene = scene();
    let target = Target::of(&scene);
    let before = target.sidecar.process.own_kib();
    let endless = [
        b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec(),
        b"X-Endless: yyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(1 << 15),
    ]
    .concat();
    let ids: Vec<u64> =
        (0..20).map(|_| target.raw.begin(scene.server.v4(HTTP1), &Plan::of(endless.clone()))).collect();
    target.serves_others();
    for id in ids {
        assert_ne!(target.raw.end(id).ended, Ended::Quiet);
    }
    let cost = target.sidecar.process.own_kib().saturating_sub(before);
    assert!(cost < 4 << 10, "{cost} KiB for 20 heads of a megabyte");
}

#[test]
fn a_slow_head_is_cut_off_in_time() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"), Need::Tool("python3"));
    let scene = scene();
    let target = Target::of(&scene);
    let before = target.sidecar.process.own_kib();
    let drip =
        Plan::dripping(&b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ".repeat(4), Duration::from_millis(200));
    let stop = Plan::of(b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec());
    let to = scene.server.v4(HTTP1);
    let ids: Vec<u64> =
        (0..100).map(|number| target.raw.begin(to, if number % 2 == 0 { &drip } else { &stop })).collect();
    for _ in 0..5 {
        target.serves_others();
    }
    for id in ids {
        let heard = target.raw.end(id);
        assert!(heard.took < LIMIT * 2 && heard.ended != Ended::Quiet, "{heard:?}");
        assert!(matches!(statuses(&heard)[..], [] | [408]), "{heard:?}");
    }
    let cost = target.sidecar.process.own_kib().saturating_sub(before);
    // A hundred clients, each with a head that is not whole.
    assert!(cost < 8 << 10, "{cost} KiB");
}

#[test]
fn a_connection_without_a_request_is_closed_after_a_while() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"), Need::Tool("python3"));
    let scene = scene();
    let target = Target::of(&scene);
    let heard = target
        .exchange(&Plan::of(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()).quiet(Duration::from_secs(8)));
    assert_eq!((statuses(&heard), heard.ended), (vec![200], Ended::Closed), "{heard:?}");
    assert!((2.5..6.0).contains(&heard.took.as_secs_f64()), "{:?}", heard.took);
}

#[test]
fn a_slow_body_holds_nobody_else_up() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"), Need::Tool("python3"));
    let scene = scene();
    let target = Target::of(&scene);
    let head =
        b"PUT /put/slow HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\nConnection: close\r\n\r\n".to_vec();
    let mut plan = Plan::dripping(b"01234567890123456789", Duration::from_millis(100));
    plan.pieces.insert(0, head);
    let id = target.raw.begin(scene.server.v4(HTTP1), &plan);
    for _ in 0..5 {
        target.serves_others();
    }
    let heard = target.raw.end(id);
    assert_eq!(statuses(&heard), [201], "a body may take longer than a head: {heard:?}");
}

#[test]
fn a_client_that_reads_nothing_holds_a_little_memory() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"), Need::Tool("python3"));
    let scene = scene();
    let target = Target::of(&scene);
    let before = target.sidecar.process.own_kib();
    let page = url(scene.server.v4(HTTP1), "/files/large");
    let readers: Vec<_> = (0..20)
        .map(|_| {
            target
                .scene
                .client
                .app()
                .start("curl", ["-sS", "--limit-rate", "1k", "-o", "/dev/null", page.as_str()])
        })
        .collect();
    sidestep_tests::eventually("all are being answered", || {
        let open = target.sidecar.metric("sidestep_connections_active", &[]);
        if open >= 20.0 { Ok(()) } else { Err(open) }
    });
    for _ in 0..5 {
        target.serves_others();
    }
    let cost = target.sidecar.process.own_kib().saturating_sub(before);
    drop(readers);
    assert!(cost < 8 << 10, "{cost} KiB for 20 clients that read nothing");
}
