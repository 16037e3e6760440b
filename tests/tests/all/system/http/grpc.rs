//! gRPC's own implementation at both ends: each kind of call, what ends one early, and what stands in trailers.

use std::net::SocketAddr;

use serde_json::{Value, json};
use sidestep_tests::{Need, needs_capture};

use super::scene::{Scene, Sidecars, Way, flags, path, status};
use super::script::Script;

const PORT: u16 = 50051;

/// Runs a test with a server of gRPC behind both sidecars, once for each way between them.
fn with_server(test: impl Fn(&Call<'_>)) {
    for way in Way::ALL {
        let scene = Scene::of(way);
        let to = scene.server.v4(PORT);
        let server = Script::listening(scene.server.app(), "grpc_ends.py", &format!("serve {to}"));
        let sidecars = scene.sidecars();
        test(&Call { scene: &scene, sidecars: &sidecars, server: &server, to });
    }
}

struct Call<'a> {
    scene: &'a Scene,
    sidecars: &'a Sidecars<'a>,
    server: &'a Script,
    to: SocketAddr,
}

impl Call<'_> {
    /// What a client's scenario came to.
    fn ask(&self, scenario: &str) -> Value {
        Script::start(self.scene.client.app(), "grpc_ends.py", &format!("{scenario} {}", self.to)).result()
    }

    /// How many calls of the mesh ended with a status of gRPC, by one side's account.
    fn counted(&self, reporter: &str, grpc_status: &str) -> f64 {
        let sidecar = if reporter == "source" { &self.sidecars.near } else { &self.sidecars.far };
        let labels =
            [("request_protocol", "grpc"), ("grpc_response_status", grpc_status), ("reporter", reporter)];
        sidecar.metric("istio_requests_total", &labels)
    }
}

#[test]
fn a_call_is_answered_with_metadata_before_and_behind() {
    needs_capture!(Need::ForeignHttp);
    with_server(|call| {
        let told = call.ask("unary");
        assert_eq!(told["answer"], "hello");
        assert_eq!(told["initial"]["x-server"], "grpcio");
        assert_eq!(told["trailing"]["x-echo"], "curious");
        assert_eq!(told["trailing"]["x-bytes-bin"], "000102030405060708090a0b0c0d0e0f");
        let heard = call.server.tells("call");
        let peer = heard["peer"].as_str().unwrap_or_default();
        assert!(peer.starts_with(&format!("ipv4:{}:", call.scene.client.v4(0).ip())), "{heard}");
        for lines in call.sidecars.logged(call.to, 1) {
            assert_eq!((status(&lines[0]), flags(&lines[0])), (200, "-".to_owned()), "{lines:?}");
            assert_eq!(path(&lines[0]), "/sidestep.test.Echo/Unary");
            assert_eq!(lines[0].more.get("grpc_status"), Some(&json!(0)), "{lines:?}");
        }
        for reporter in ["source", "destination"] {
            assert_eq!(call.counted(reporter, "0"), 1.0, "{reporter}");
        }
    });
}

#[test]
fn messages_stream_each_as_soon_as_it_is_there() {
    needs_capture!(Need::ForeignHttp);
    with_server(|call| {
        assert_eq!(call.ask("streams"), json!({ "server": true, "client": true, "both": 100 }));
        call.sidecars.logged(call.to, 3);
    });
}

#[test]
fn errors_arrive_with_their_words_and_their_metadata() {
    needs_capture!(Need::ForeignHttp);
    with_server(|call| {
        let told = call.ask("errors");
        assert_eq!(told["at_once"]["code"], "NOT_FOUND");
        assert_eq!(told["at_once"]["details"], "no such thing: 100 % – niente");
        assert_eq!(told["at_once"]["trailing"]["x-why"], "because");
        assert_eq!(told["unknown"]["code"], "UNIMPLEMENTED");
        assert_eq!((&told["late"]["code"], &told["heard"]), (&json!("DATA_LOSS"), &json!(3)));
        for lines in call.sidecars.logged(call.to, 3) {
            let mut statuses: Vec<_> =
                lines.iter().filter_map(|line| line.more.get("grpc_status")?.as_u64()).collect();
            statuses.sort_unstable();
            assert_eq!(statuses, [5, 12, 15], "{lines:?}");
        }
        for (reporter, code) in [("source", "5"), ("destination", "12"), ("source", "15")] {
            assert_eq!(call.counted(reporter, code), 1.0, "{reporter} {code}");
        }
    });
}

#[test]
fn a_deadline_and_a_cancelled_call_reach_the_server() {
    needs_capture!(Need::ForeignHttp);
    with_server(|call| {
        let late = call.ask("deadline");
        assert_eq!(late["code"], "DEADLINE_EXCEEDED", "{late}");
        assert!(late["after"].as_f64().is_some_and(|after| after < 2.0), "{late}");
        let told = call.server.tells("cancelled");
        assert_eq!((&told["cancelled"], &told["deadline"]), (&json!(true), &json!(true)), "{told}");
        let cancelled = call.ask("cancel");
        assert_eq!(cancelled, json!({ "cancelled": true, "again": "still here" }));
        assert_eq!(call.server.tells("cancelled")["cancelled"], true);
        for lines in call.sidecars.logged(call.to, 3) {
            let [late, cancelled, _again] = &lines[..] else { panic!("{lines:?}") };
            // The server knows the deadline too, and may be the first to end the call.
            assert!(flags(late) == "DC" || late.more["grpc_status"] == 4, "{lines:?}");
            assert_eq!(flags(cancelled), "DC", "{lines:?}");
        }
    });
}

#[test]
fn large_messages_and_many_calls_arrive() {
    needs_capture!(Need::ForeignHttp);
    with_server(|call| {
        assert_eq!(call.ask("large"), json!({ "bytes": 16 << 20, "same": true }));
        assert_eq!(call.ask("many"), json!({ "good": 1000 }));
        call.sidecars.logged(call.to, 1001);
    });
}

#[test]
fn a_server_that_is_not_there_is_told_in_the_words_of_grpc() {
    needs_capture!(Need::ForeignHttp);
    for way in Way::ALL {
        let scene = Scene::of(way).with(json!({ "ports": { PORT.to_string(): "grpc" } }));
        let sidecars = scene.sidecars();
        let to = scene.server.v4(PORT);
        let told = Script::start(scene.client.app(), "grpc_ends.py", &format!("dead {to}")).result();
        assert_eq!(told["code"], "UNAVAILABLE", "{told}");
        let line = sidestep_tests::eventually("the refusal is told", || {
            let lines = sidecars.far.log.lines();
            lines.iter().find(|line| line.original_destination == Some(to)).cloned().ok_or(lines)
        });
        assert!(line.error.is_some() || flags(&line) != "-", "{line:?}");
    }
}
