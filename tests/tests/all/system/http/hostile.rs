//! Upstreams that misbehave: a client never takes a broken answer for a whole one, and never gets what it did not ask for.

use std::time::Duration;

use serde_json::json;
use sidestep_tests::{Need, needs_capture};

use super::super::server::answer;
use super::message::{Answer, End, answers};
use super::raw::{Ended, Heard, Plan, Raw, get};
use super::scene::{Scene, Sidecars, Way, flags, path, status};
use super::script::Script;

const PORT: u16 = 8080;

/// A scene with an upstream that misbehaves behind both sidecars.
struct Stage<'a> {
    scene: &'a Scene,
    sidecars: &'a Sidecars<'a>,
    raw: Raw,
}

/// Runs a test with it, once for each way between the sidecars. They give up on an upstream soon.
fn with_origin(test: impl Fn(&Stage<'_>)) {
    for way in Way::ALL {
        let scene = Scene::of(way).with(json!({ "header-timeout": "2s" }));
        let line = format!("serve {}", scene.server.v4(PORT));
        let _origin = Script::listening(scene.server.app(), "hostile_origin.py", &line);
        let sidecars = scene.sidecars();
        test(&Stage { scene: &scene, sidecars: &sidecars, raw: Raw::start(scene.client.app()) });
    }
}

impl Stage<'_> {
    /// Asks for each of the names on a connection of its own, and for something good behind it; all at the same time.
    fn ask<'n>(&self, names: &[&'n str]) -> Vec<(&'n str, Heard)> {
        let begin = |name: &&'n str| {
            let asked = [get(&format!("/{name}")), get("/good")].concat();
            (*name, self.raw.begin(self.scene.server.v4(PORT), &Plan::of(asked)))
        };
        let begun: Vec<_> = names.iter().map(begin).collect();
        begun.into_iter().map(|(name, id)| (name, self.raw.end(id))).collect()
    }

    /// Asks for something good, which must be had whatever happened before.
    fn still_serves(&self) {
        let heard =
            self.raw.exchange(self.scene.server.v4(PORT), &Plan::of([get("/good"), close()].concat()));
        let found = read("good", &heard);
        assert_eq!(
            found.first().map(|answer| (answer.status, &answer.body[..])),
            Some((200, &b"fine"[..])),
            "{found:?}"
        );
    }
}

/// Whether a client that asked twice knows what has become of both: it has two answers, or no connection any more.
fn is_over(heard: &Heard, found: &[Answer]) -> bool {
    heard.ended != Ended::Quiet || (found.len() == 2 && found.iter().all(|answer| answer.end == End::Clean))
}

/// A request that is the last of its connection.
fn close() -> Vec<u8> {
    b"GET /good HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n".to_vec()
}

fn read(name: &str, heard: &Heard) -> Vec<Answer> {
    answers(&heard.bytes, heard.ended == Ended::Closed).unwrap_or_else(|why| {
        let shown = String::from_utf8_lossy(&heard.bytes[..heard.bytes.len().min(2000)]);
        panic!("{name}: {why} in {shown:?}")
    })
}

/// Answers that end within themselves, or whose end cannot be told.
const BROKEN: [&str; 22] = [
    "reset",
    "reset-midway",
    "vanish",
    "short-length",
    "no-last-chunk",
    "short-chunk",
    "no-end-after-last-chunk",
    "no-chunk-size",
    "chunk-size-overflow",
    "negative-chunk-size",
    "long-chunk",
    "length-list",
    "two-lengths",
    "signed-length",
    "coding-after-chunked",
    "length-and-chunked",
    "chunked-in-1.0",
    "garbage",
    "other-version",
    "status-of-two-digits",
    "status-zero",
    "unasked-switch",
];

#[test]
fn a_broken_answer_never_ends_well() {
    needs_capture!(Need::Tool("python3"));
    with_origin(|stage| {
        for (name, heard) in stage.ask(&BROKEN) {
            let found = read(name, &heard);
            let first = found.first();
            assert!(!first.is_some_and(Answer::is_clean_success), "{name}: {found:?}");
            assert!(first.is_none_or(|answer| [200, 502, 503].contains(&answer.status)), "{name}: {found:?}");
            assert!(is_over(&heard, &found), "{name}: the client is left waiting: {found:?}");
            // What follows on the same connection is the answer to what was asked second, or nothing.
            let second = found.get(1).map(|answer| &answer.body[..]);
            assert!(second.is_none_or(|body| body == b"fine"), "{name}: {found:?}");
        }
        stage.still_serves();
        let of = |name: &str| {
            // The one beside the upstream knows; the other may have got a whole 502 from it.
            let lines = stage.sidecars.far.log.lines();
            let path_of = format!("/{name}");
            let found = lines.into_iter().find(|line| path(line) == path_of);
            found.map(|line| (status(&line), flags(&line), line.error_side.clone()))
        };
        for name in BROKEN {
            let told = sidestep_tests::eventually(&format!("{name} is logged"), || of(name).ok_or(()));
            assert_ne!(told.1, "-", "{name}: {told:?}");
        }
    });
}

#[test]
fn curl_and_its_exit_status_tell_a_cut_answer_from_a_whole_one() {
    needs_capture!(Need::Tool("python3"), Need::Tool("curl"));
    with_origin(|stage| {
        let to = stage.scene.server.v4(PORT);
        for name in ["short-length", "no-last-chunk", "short-chunk", "reset-midway"] {
            let page = format!("http://{to}/{name}");
            let client =
                stage.scene.client.app().start("curl", ["-sSf", "--max-time", "8", "-o", "/dev/null", &page]);
            let code = client.end().code();
            // Partial file, bad encoding, failure in receiving, an error status.
            assert!(matches!(code, Some(18 | 22 | 56)), "{name}: {code:?} {}", client.stderr());
        }
        let whole = answer(stage.scene.client.app(), "curl", ["-sSf", &format!("http://{to}/until-the-end")]);
        assert_eq!(whole, "all of it");
    });
}

#[test]
fn an_answer_that_nobody_asked_for_reaches_nobody() {
    needs_capture!(Need::Tool("python3"));
    with_origin(|stage| {
        let to = stage.scene.server.v4(PORT);
        for name in ["poison", "late-poison", "body-after-204"] {
            // Nothing is asked behind it: what comes late belongs to nobody.
            let plan = Plan::of(get(&format!("/{name}"))).quiet(Duration::from_millis(500));
            let heard = stage.raw.exchange(to, &plan);
            let found = read(name, &heard);
            let statuses: Vec<u16> = found.iter().map(|answer| answer.status).collect();
            assert!(matches!(statuses[..], [200 | 204 | 502]), "{name}: {found:?}");
            assert!(found[0].body != b"poison", "{name}: {found:?}");
        }
        // Whoever comes next gets an upstream connection without anything left on it.
        for _ in 0..5 {
            stage.still_serves();
        }
    });
}

#[test]
fn a_field_is_never_taken_for_two() {
    needs_capture!(Need::Tool("python3"));
    with_origin(|stage| {
        for (name, heard) in stage.ask(&["bare-cr", "nul", "fold", "space-before-colon", "no-colon"]) {
            let found = read(name, &heard);
            let first = found.first().unwrap_or_else(|| panic!("{name}: no answer"));
            assert!(first.values("set-cookie").next().is_none(), "{name}: {first:?}");
            assert_eq!(first.status, 502, "{name}: {first:?}");
        }
        stage.still_serves();
    });
}

#[test]
fn heads_without_end_and_interim_answers_without_end_are_cut_off() {
    needs_capture!(Need::Tool("python3"));
    with_origin(|stage| {
        stage.still_serves();
        let before = [&stage.sidecars.near, &stage.sidecars.far].map(|sidecar| sidecar.process.own_kib());
        for (name, heard) in stage.ask(&["endless-head", "informational-flood", "drip"]) {
            let found = answers(&heard.bytes, heard.ended == Ended::Closed).unwrap_or_default();
            assert!(!found.first().is_some_and(Answer::is_clean_success), "{name}: {found:?}");
            assert!(is_over(&heard, &found), "{name}: the client is left waiting: {found:?}");
        }
        stage.still_serves();
        for (sidecar, before) in [&stage.sidecars.near, &stage.sidecars.far].into_iter().zip(before) {
            let cost = sidecar.process.own_kib().saturating_sub(before);
            assert!(cost < 4 << 10, "{cost} KiB");
        }
    });
}

#[test]
fn an_early_answer_is_passed_on_while_the_upload_goes_on() {
    needs_capture!(Need::Tool("python3"));
    with_origin(|stage| {
        let head = b"POST /early HTTP/1.1\r\nHost: web\r\nContent-Length: 100000000\r\n\r\n".to_vec();
        let upload = [head, vec![b'x'; 1 << 20]].concat();
        let heard = stage.raw.exchange(stage.scene.server.v4(PORT), &Plan::of(upload));
        let found = read("early", &heard);
        assert_eq!(
            found.first().map(|answer| (answer.status, &answer.body[..])),
            Some((413, &b"big"[..])),
            "{found:?}"
        );
        assert!(heard.took < Duration::from_secs(4), "{:?}", heard.took);
        stage.still_serves();
    });
}

#[test]
fn an_upstream_that_stalls_holds_nobody_else_up() {
    needs_capture!(Need::Tool("python3"));
    with_origin(|stage| {
        let to = stage.scene.server.v4(PORT);
        let plan = |name: &str| Plan::of(get(&format!("/{name}"))).quiet(Duration::from_secs(2));
        let stalled: Vec<_> =
            ["stall", "stall-midway"].map(|name| (name, stage.raw.begin(to, &plan(name)))).into();
        for _ in 0..10 {
            stage.still_serves();
        }
        for (name, id) in stalled {
            let heard = stage.raw.end(id);
            let found = read(name, &heard);
            assert!(!found.first().is_some_and(Answer::is_clean_success), "{name}: {found:?}");
        }
        let good = sidestep_tests::eventually("what was answered is told", || {
            let mut lines = stage.sidecars.near.log.lines();
            lines.retain(|line| path(line) == "/good");
            if lines.len() == 20 { Ok(lines) } else { Err(lines) }
        });
        assert!(good.iter().all(|line| (status(line), flags(line)) == (200, "-".to_owned())), "{good:?}");
    });
}
