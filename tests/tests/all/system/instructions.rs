//! How many instructions the relay takes for a message: steady for one compiler, whatever else the machine does, so that a
//! hot path that grows is seen in a review. `SIDESTEP_BLESS=1` writes the figure anew.

use nix::sys::signal::Signal;
use serde_json::json;
use sidestep_tests::{Config, Need, Pod, Process, Sidestep, needs_capture};

use super::shipped;
use crate::ask::listening;

/// Instructions in user space for one round trip: two messages, each read on one socket and written to the other.
const GOLDEN: &str = include_str!("../../../golden/relay-instructions.txt");
/// How far from it is still the same, in percent: compilers differ, and idle timers run by the clock.
const TOLERANCE: u64 = 10;
/// Round trips of the short and of the long run: what they have in common, the start above all, is taken away.
const ROUND_TRIPS: [u64; 2] = [500, 4_500];

#[test]
fn the_relay_takes_no_more_instructions_for_a_message_unseen() {
    // Captured by iptables: the counting tool need not know every system call that loads a BPF program, and the relay is
    // the same.
    needs_capture!(Need::Tool("valgrind"), Need::Tool("iptables"), Need::Tool("ip6tables"));
    let [short, long] = ROUND_TRIPS.map(instructions_of);
    let each = (long - short) / (ROUND_TRIPS[1] - ROUND_TRIPS[0]);
    if std::env::var("SIDESTEP_BLESS").as_deref() == Ok("1") {
        let file = shipped("tests/golden/relay-instructions.txt");
        std::fs::write(&file, format!("{each}\n"))
            .unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
        return;
    }
    let golden: u64 = GOLDEN.trim().parse().expect("a number of instructions in the golden file");
    assert!(
        each.abs_diff(golden) * 100 <= golden * TOLERANCE,
        "the relay takes {each} instructions for a round trip, {golden} were written down; if the change is meant, run this \
         with SIDESTEP_BLESS=1"
    );
}

/// All that a sidecar takes in its life, in which it relays so many round trips.
fn instructions_of(round_trips: u64) -> u64 {
    let (client, server) = Pod::pair();
    let listen = format!("echo --listen {} --report nothing", server.v4(8080));
    let _echo = listening(server.app().peer(&listen));
    let config = Config::of(&client).with("capture", json!({ "mode": "iptables" })).without_inbound();
    let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("make a directory: {error}"));
    let out = format!("--callgrind-out-file={}", directory.path().join("counts").display());
    let tool = ["valgrind", "--tool=callgrind", &out];
    let sidecar = Sidestep::start_under(&tool, &client, client.sidecar(), &["sidecar"], &config).ready();
    let ping_pong =
        client.app().peer(&format!("ping-pong {} --count {round_trips} --warm-up 0", server.v4(8080)));
    ping_pong.succeed();
    sidecar.log.outbound(server.v4(8080));
    assert!(sidecar.process.stop(Signal::SIGTERM).success(), "{}", sidecar.process.stderr());
    collected(&sidecar.process)
}

/// What callgrind says at the end: `==PID== Collected : 123456`.
fn collected(process: &Process) -> u64 {
    let said = process.stderr();
    let counts = said.lines().filter_map(|line| line.split_once("Collected :"));
    let count = counts.filter_map(|(_, count)| count.trim().parse().ok()).next_back();
    count.unwrap_or_else(|| panic!("expected callgrind to say how much it collected, found {said}"))
}
