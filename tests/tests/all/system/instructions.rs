//! How many instructions a message takes in the relay, and a request that a hundred policies look into: steady for one
//! compiler, whatever else the machine does, so that a hot path that grows is seen in a review. `SIDESTEP_BLESS=1` writes the
//! figures anew.

use nix::sys::signal::Signal;
use serde_json::json;
use sidestep_tests::{Config, Mesh, Need, Pod, Process, Sidestep, needs_capture};

use super::server::answer;
use super::shipped;
use super::web::nginx;
use crate::ask::listening;

/// Something of which a sidecar does much in its life.
struct Work {
    /// One of it.
    what: &'static str,
    /// Instructions in user space for one, as written down; and where.
    golden: &'static str,
    file: &'static str,
    /// How far from that is still the same, in percent: compilers differ, and what runs by the clock does.
    tolerance: u64,
    /// How many of it in the short and in the long run: what they have in common, the start above all, is taken away.
    counts: [u64; 2],
    /// All that a sidecar takes in a life with so many.
    instructions: fn(u64) -> u64,
}

impl Work {
    fn takes_no_more_unseen(&self) {
        let Self { what, golden, file, tolerance, counts: [few, many], instructions } = self;
        let each = (instructions(*many) - instructions(*few)) / (many - few);
        if std::env::var("SIDESTEP_BLESS").as_deref() == Ok("1") {
            let file = shipped(file);
            std::fs::write(&file, format!("{each}\n"))
                .unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
            return;
        }
        let golden: u64 = golden.trim().parse().expect("a number of instructions in the golden file");
        assert!(
            each.abs_diff(golden) * 100 <= golden * tolerance,
            "{what} takes {each} instructions, {golden} were written down; if the change is meant, run this with \
             SIDESTEP_BLESS=1"
        );
    }
}

#[test]
fn the_relay_takes_no_more_instructions_for_a_message_unseen() {
    // Captured by iptables: the counting tool need not know every system call that loads a BPF program, and the relay is
    // the same.
    needs_capture!(Need::Tool("valgrind"), Need::Tool("iptables"), Need::Tool("ip6tables"));
    let relay = Work {
        what: "a round trip of two messages, each read on one socket and written to the other,",
        golden: include_str!("../../../golden/relay-instructions.txt"),
        file: "tests/golden/relay-instructions.txt",
        tolerance: 10,
        counts: [500, 4_500],
        instructions: of_round_trips,
    };
    relay.takes_no_more_unseen();
}

#[test]
fn a_request_among_a_hundred_policies_takes_no_more_instructions_unseen() {
    needs_capture!(
        Need::Tool("valgrind"),
        Need::Tool("iptables"),
        Need::Tool("ip6tables"),
        Need::Tool("nginx"),
        Need::Tool("curl")
    );
    let request = Work {
        what: "a request that is decided among a hundred policies and handed on",
        golden: include_str!("../../../golden/request-instructions.txt"),
        file: "tests/golden/request-instructions.txt",
        // Whether a request and its answer come in one piece, or wake the proxy twice, is the clock's business.
        tolerance: 15,
        counts: [100, 700],
        instructions: of_requests,
    };
    request.takes_no_more_unseen();
}

fn of_round_trips(round_trips: u64) -> u64 {
    let (client, server) = Pod::pair();
    let listen = format!("echo --listen {} --report nothing", server.v4(8080));
    let _echo = listening(server.app().peer(&listen));
    counted(&client, Config::of(&client).without_inbound(), |sidecar| {
        let ping_pong =
            client.app().peer(&format!("ping-pong {} --count {round_trips} --warm-up 0", server.v4(8080)));
        ping_pong.succeed();
        sidecar.log.outbound(server.v4(8080));
    })
}

fn of_requests(requests: u64) -> u64 {
    let (client, server) = Pod::pair();
    let _nginx = nginx(&server);
    let mesh = Mesh::new();
    mesh.hold_to(&a_hundred_policies());
    counted(&server, mesh.member(Config::of(&server), "server"), |_sidecar| {
        let url = format!("http://{}/of/50/[1-{requests}]", server.v4(8080));
        let asked = ["-sS", "-o", "/dev/null", "-w", "%{http_code}\\n", &url];
        let answers = answer(client.app(), "curl", asked);
        let allowed = answers.lines().filter(|status| *status == "200").count();
        assert_eq!(allowed as u64, requests, "requests that the policies let in");
    })
}

/// Ninety-nine that are about others' paths or headers, and one that lets in what is asked for.
fn a_hundred_policies() -> String {
    let policy = |number: u32| {
        let (action, operation) = match number {
            50 => ("ALLOW", "paths: [ /of/50/* ], methods: [ GET, HEAD ]".to_owned()),
            number if number % 2 == 0 => ("ALLOW", format!("paths: [ /of/{number}/* ], methods: [ GET ]")),
            number => ("DENY", format!("paths: [ \"/no/{number}/{{**}}\", \"*.{number}\" ]")),
        };
        format!(
            "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
             metadata: {{ name: p{number}, namespace: shop }}\n\
             spec: {{ action: {action}, rules: [ {{ to: [ {{ operation: {{ {operation} }} }} ] }} ] }}\n"
        )
    };
    (0..100).map(policy).collect()
}

/// All that a sidecar of `pod` takes in its life, in which this is done.
fn counted(pod: &Pod, config: Config, done: impl FnOnce(&Sidestep<'_>)) -> u64 {
    let config = config.with("capture", json!({ "mode": "iptables" }));
    let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("make a directory: {error}"));
    let out = format!("--callgrind-out-file={}", directory.path().join("counts").display());
    let tool = ["valgrind", "--tool=callgrind", &out];
    let sidecar = Sidestep::start_under(&tool, pod, pod.sidecar(), &["sidecar"], &config).ready();
    done(&sidecar);
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
