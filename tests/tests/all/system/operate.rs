//! What is asked of a process that runs: status, top, connections, configuration, and what it logs.

use std::ffi::OsStr;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sidestep_tests::patience::eventually;
use sidestep_tests::{Config, Need, Pod, Process, Sidestep, needs_capture, sidestep};

use crate::ask::{connect, echo};

/// Asks about the workload of a pod.
fn ask<A: AsRef<OsStr>>(pod: &Pod, arguments: impl IntoIterator<Item = A>) -> Process {
    let mut command = pod.sidecar().command(sidestep::binary());
    command.args(arguments).args(["--workload", pod.workload.as_str()]);
    Process::start(command)
}

/// What is answered, if it is.
fn answer<A: AsRef<OsStr>>(pod: &Pod, arguments: impl IntoIterator<Item = A>) -> String {
    let asked = ask(pod, arguments);
    asked.succeed();
    asked.stdout().join("\n")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// Two pods, a server in the second, and how the first one is asked.
fn scene() -> (Pod, Pod, Process) {
    let (client, server) = Pod::pair();
    let echo = echo(&server, "right", server.v4(8080), "");
    (client, server, echo)
}

#[test]
fn the_status_says_who_is_served_and_what_it_did() {
    needs_capture!();
    let (client, server, _echo) = scene();
    let _sidestep = Sidestep::sidecar(&client, &Config::of(&client));
    for _ in 0..3 {
        assert_eq!(connect(&client, &format!("{} --send hello", server.v4(8080))).read, "right\nhello");
    }
    let told = json(&answer(&client, ["status", "--json"]));
    let process = &told[0];
    let workload = &process["workloads"][0];
    assert_eq!((&process["form"], &workload["workload"]), (&json!("sidecar"), &json!(client.workload)));
    assert_eq!(workload["state"], "ready", "{told}");
    eventually("three connections are counted", || {
        let told = json(&answer(&client, ["status", "--json"]));
        let opened = told[0]["workloads"][0]["opened"]["outbound"].as_u64();
        if opened >= Some(3) { Ok(()) } else { Err(told) }
    });
    let table = answer(&client, ["status"]);
    assert!(table.contains("sidestep 0.1.0 sidecar, pid ") && table.contains("ready"), "{table}");
}

#[test]
fn connections_are_followed_as_they_open_and_end() {
    needs_capture!();
    let (client, server, _echo) = scene();
    let _sidestep = Sidestep::sidecar(&client, &Config::of(&client).without_inbound());
    let following = ask(&client, ["connections", "--follow", "--json"]);
    let open = client.app().peer(&format!("connect {} --send hello --end told", server.v4(8080)));
    let event = |name: &'static str| {
        let told = |line: &str| {
            let event: Value = serde_json::from_str(line).ok()?;
            (event["event"] == name).then_some(event)
        };
        following.line(name, told)
    };
    let opened = event("open");
    assert_eq!((&opened["workload"], &opened["tier"]), (&json!(client.workload), &json!("relay")));
    assert_eq!(opened["original"], json!(server.v4(8080).to_string()));
    open.say("go on");
    let ended = event("ended");
    assert_eq!(ended["connection"], opened["connection"]);
    assert_eq!(ended["bytes_sent"], 5);
    following.stop(Signal::SIGTERM);
}

#[test]
fn what_is_logged_changes_while_it_runs_and_what_is_no_level_is_refused() {
    needs_capture!();
    let (client, server, _echo) = scene();
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client));
    assert_eq!(answer(&client, ["log"]), "info");
    let debug = || sidestep.process.stderr().contains("\"level\":\"DEBUG\"");
    assert!(!debug());
    assert_eq!(answer(&client, ["log", "debug"]), "debug");
    eventually("something is logged that was not before", || {
        connect(&client, &format!("{} --send hello", server.v4(8080)));
        if debug() { Ok(()) } else { Err(sidestep.process.stderr()) }
    });
    assert_eq!(answer(&client, ["log", "warn"]), "warn");
    assert!(!ask(&client, ["log", "loud"]).end().success());
    assert_eq!(answer(&client, ["log"]), "warn");
}

#[test]
fn the_configuration_in_force_is_shown_as_it_changes() {
    needs_capture!();
    let client = Pod::alone();
    let sidestep = Sidestep::sidecar(&client, &Config::of(&client));
    let shown = || json(&answer(&client, ["config"]))[client.workload.as_str()].clone();
    assert_eq!(shown()["outbound"]["rules"], json!([]));
    sidestep.configure(
        &Config::of(&client).with("outbound", json!({ "rules": [{ "deny": "10.9.0.0/16:5432" }] })),
    );
    eventually("the rule is shown", || match shown()["outbound"]["rules"].clone() {
        rules if rules == json!(["deny 10.9.0.0/16:5432"]) => Ok(()),
        rules => Err(rules),
    });
}

#[test]
fn top_prints_one_table_and_draws_in_a_terminal_until_it_is_told_to_end() {
    needs_capture!(Need::Tool("python3"));
    let client = Pod::alone();
    let _sidestep = Sidestep::sidecar(&client, &Config::of(&client));
    let table = answer(&client, ["top", "--once", "--interval", "200ms"]);
    assert!(table.contains("WORKLOAD") && table.contains(&client.workload), "{table}");
    assert!(!ask(&client, ["top"]).end().success(), "it has no terminal");

    let mut command = client.sidecar().command("python3");
    command.args(["-c", TERMINAL]).arg(sidestep::binary());
    command.args(["top", "--interval", "200ms", "--workload", &client.workload]);
    let top = Process::start(command);
    top.succeed();
    let drawn = top.stdout().join("\n");
    // As much of the name as 80 columns have room for.
    let name: String = client.workload.chars().take(20).collect();
    assert!(drawn.contains(&name) && drawn.contains("CONN/S"), "{drawn}");
}

/// Runs a command in a terminal of its own of 80 by 24, presses q once it has drawn, and ends as it ends.
const TERMINAL: &str = "
import fcntl, os, pty, select, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
drawn, pressed = b'', False
while True:
    readable, _, _ = select.select([terminal], [], [], 20)
    if not readable:
        sys.exit('nothing was drawn any more')
    try:
        drawn += os.read(terminal, 65536)
    except OSError:
        break
    if not pressed and b'q: end' in drawn.replace(b'\x1b', b''):
        os.write(terminal, b'q')
        pressed = True
print(drawn.decode(errors='replace').replace('\x1b', '^'))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";
