//! What is no HTTP: servers that speak first are not waited for, TLS is passed on with the name that it asks for.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use sidestep_tests::{Access, Need, Pod, Sidestep, eventually, needs_capture};

use crate::ask::{connect, connect_and_send};

use super::super::databases::mariadb;
use super::super::server::{answer, eventually_succeeds};
use super::origin::{HTTPS, NAME, PAGE, nginx};
use super::scene::{Scene, Way, text};
use super::script::Script;

/// How often each greeting is waited for.
const ROUNDS: usize = 15;
/// What looking may cost on a busy machine. A proxy that waits for the client to speak first takes a timeout.
const MORE: Duration = Duration::from_millis(10);

/// Median time from `connect()` to the first byte that a silent client gets.
fn greeting(client: &Pod, address: SocketAddr, contains: &str) -> Duration {
    let mut times: Vec<u64> = (0..ROUNDS)
        .map(|_| {
            let dialled = connect(client, &address.to_string());
            assert!(dialled.read.contains(contains), "{dialled:?}");
            dialled.connect_us + dialled.first_byte_us.unwrap_or_else(|| panic!("no greeting: {dialled:?}"))
        })
        .collect();
    times.sort_unstable();
    Duration::from_micros(times[ROUNDS / 2])
}

/// The same through both sidecars, with `http` as it is said.
fn through_sidecars(scene: &Scene, address: SocketAddr, contains: &str) -> Duration {
    let sidecars = scene.sidecars();
    let median = greeting(&scene.client, address, contains);
    for (sidecar, direction) in [(&sidecars.near, "outbound"), (&sidecars.far, "inbound")] {
        let lines = opaque_lines(sidecar, direction, address, ROUNDS);
        assert!(lines.iter().all(|line| ["relay", "tunnel"].contains(&line.tier.as_str())), "{lines:?}");
    }
    median
}

fn opaque_lines(sidecar: &Sidestep<'_>, direction: &str, to: SocketAddr, count: usize) -> Vec<Access> {
    eventually(&format!("{count} connections are logged"), || {
        let mut lines = sidecar.log.lines();
        lines.retain(|line| line.direction == direction && line.original_destination == Some(to));
        if lines.len() == count { Ok(lines) } else { Err(lines) }
    })
}

#[test]
fn a_server_that_speaks_first_is_as_fast_as_through_the_relay() {
    needs_capture!(Need::Tool("python3"), Need::Speed);
    for way in Way::ALL {
        let without = Scene::of(way).with(json!({ "inbound": "off", "outbound": "off" }));
        let with = Scene::of(way);
        let [without, with] = [&without, &with].map(|scene| {
            let to = scene.server.v4(25);
            let _mail = Script::listening(scene.server.app(), "greeter.py", &format!("greet {to}"));
            through_sidecars(scene, to, "220 mail.example ESMTP")
        });
        assert!(with < without + MORE, "{with:?} with detection and {without:?} without, {way:?}");
    }
}

#[test]
fn mariadb_greets_as_fast_as_through_the_relay() {
    needs_capture!(
        Need::Tool("mariadbd"),
        Need::Tool("mariadb-install-db"),
        Need::Tool("mariadb"),
        Need::Speed
    );
    let with = Scene::of(Way::Tunnel);
    let _mariadb = mariadb(&with.server);
    let ask =
        ["--no-defaults", "--host=10.77.0.2", "--batch", "--skip-column-names", "--execute=select 6 * 7"];
    eventually_succeeds(with.client.app(), "mariadb", &ask);
    let without = with.with(json!({ "inbound": "off", "outbound": "off" }));
    let relayed = through_sidecars(&without, without.server.v4(3306), "MariaDB");
    let with = without.with(json!({}));
    let looked_at = through_sidecars(&with, with.server.v4(3306), "MariaDB");
    assert!(looked_at < relayed + MORE, "{looked_at:?} with detection and {relayed:?} without");
    let _sidecars = with.sidecars();
    assert_eq!(answer(with.client.app(), "mariadb", ask), "42");
}

#[test]
fn a_client_that_speaks_something_else_is_passed_on() {
    needs_capture!(Need::Tool("python3"));
    for way in Way::ALL {
        let scene = Scene::of(way);
        let to = scene.server.v4(7000);
        let _echo = Script::listening(scene.server.app(), "greeter.py", &format!("echo {to}"));
        let sidecars = scene.sidecars();
        // A beginning of HTTP that turns out to be none, and something that is longer than any method. (What can only become
        // HTTP, such as a lone `G`, is waited for: see the limits.)
        for bytes in ["GETTING THERE", "hello", "\u{16}\u{3}", "AVERYLONGWORDWITHOUTANYBLANKWHATSOEVER"] {
            let dialled = connect_and_send(&scene.client, to, bytes);
            assert_eq!(dialled.read, bytes, "{way:?}");
        }
        let lines = opaque_lines(&sidecars.far, "inbound", to, 4);
        assert!(lines.iter().all(|line| line.tier != "http"), "{lines:?}");
    }
}

#[test]
fn tls_passes_with_the_name_that_it_asks_for() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"));
    for way in Way::ALL {
        let scene = Scene::of(way);
        let nginx = nginx(&scene.server);
        let sidecars = scene.sidecars();
        let to = scene.server.v4(HTTPS);
        let certificate = nginx.path().join("tls.crt").display().to_string();
        let resolved = format!("{NAME}:{HTTPS}:{}", to.ip());
        let page = format!("https://{NAME}:{HTTPS}/");
        let asked = ["-sSf", "--max-time", "10", "--cacert", &certificate, "--resolve", &resolved, &page];
        assert_eq!(answer(scene.client.app(), "curl", asked), PAGE, "the certificate is nginx's own");
        for (sidecar, direction) in [(&sidecars.near, "outbound"), (&sidecars.far, "inbound")] {
            let lines = opaque_lines(sidecar, direction, to, 1);
            assert_eq!(text(&lines[0], "sni"), NAME, "{lines:?}");
            assert_ne!(lines[0].tier, "http", "{lines:?}");
        }
    }
}
