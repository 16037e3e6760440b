//! WebSocket by the Python package of that name: a connection that begins as HTTP and goes on as something else.

use serde_json::json;
use sidestep_tests::{Need, needs_capture};

use super::scene::{Scene, Way, path, status};
use super::script::Script;

const PORT: u16 = 8765;

#[test]
fn messages_travel_both_ways_until_either_side_closes() {
    needs_capture!(Need::ForeignHttp);
    for way in Way::ALL {
        let scene = Scene::of(way);
        let to = scene.server.v4(PORT);
        let server = Script::listening(scene.server.app(), "websocket_ends.py", &format!("serve {to}"));
        let sidecars = scene.sidecars();
        let ask = |scenario| {
            Script::start(scene.client.app(), "websocket_ends.py", &format!("{scenario} {to}")).result()
        };
        let told = ask("ask");
        let expected = json!({
            "text": "hello", "same": 4, "pong": true, "subprotocol": "echo", "status": 101, "code": 4001, "reason": "enough",
        });
        assert_eq!(told, expected);
        let accepted = server.tells("accepted");
        assert_eq!(
            accepted["accepted"],
            scene.client.v4(0).ip().to_string(),
            "the app sees the client itself"
        );
        assert_eq!(accepted["path"], "/echo?x=1");
        assert_eq!(server.tells("closed")["closed"], 4001);
        assert_eq!(ask("server-closes"), json!({ "code": 4002, "reason": "as you wish" }));
        assert_eq!(server.tells("closed")["closed"], 4002);
        for lines in sidecars.logged(to, 2) {
            assert!(lines.iter().all(|line| status(line) == 101 && path(line) == "/echo?x=1"), "{lines:?}");
            let large =
                lines.iter().filter(|line| line.bytes_sent > 4 << 20 && line.bytes_received > 4 << 20);
            assert_eq!(large.count(), 1, "what went through it is counted: {lines:?}");
        }
    }
}
