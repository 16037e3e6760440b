//! The bench in its smallest form: every way is taken, every figure told, and nothing left. What the figures say is not
//! looked at: a machine that runs tests is no place to measure.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sidestep_tests::{Need, needs_capture};

use super::{shipped, xtask};

fn bench(arguments: &str, out: &Path) -> Command {
    let mut command = Command::new(xtask());
    command.current_dir(shipped(".")).arg("bench").args(arguments.split(' ')).arg("--out").arg(out);
    command
}

fn report(directory: &Path) -> Value {
    let path = directory.join("report.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn texts<'a>(of: &'a Value, field: &str) -> BTreeSet<&'a str> {
    let items = of.as_array().into_iter().flatten();
    items.filter_map(|item| if field.is_empty() { item.as_str() } else { item[field].as_str() }).collect()
}

/// Namespaces, cgroups and pins of a run that has ended.
fn leftovers(run: u32) -> Vec<String> {
    let places = ["/run/netns", "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/bpf/sidestep", "/tmp"];
    let entries = places.iter().flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten());
    let names = entries.map(|entry| entry.path().display().to_string());
    names.filter(|name| name.contains(&format!("bench-{run}-"))).collect()
}

#[test]
fn a_smoke_run_of_the_bench_takes_every_way_and_tells_every_figure() {
    needs_capture!(
        Need::Tool("ip"),
        Need::Tool("iptables"),
        Need::Tool("haproxy"),
        Need::Tool("nginx"),
        Need::Tool("conntrack"),
        Need::Tool("strace"),
        Need::Tool("perf"),
        Need::Tool("bpftool")
    );
    let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("make a directory: {error}"));
    let output = bench("--smoke", directory.path()).output().unwrap_or_else(|error| panic!("run: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let report = report(directory.path());
    let notes = texts(&report["notes"], "");
    let lost = |note: &&str| note.contains("left out") || note.contains("could not be measured");
    assert_eq!(notes.iter().copied().find(lost), None);
    let samples = report["samples"].as_array().expect("samples");
    let counted = |sample: &Value| sample["whole"]["count"].as_u64().is_some_and(|count| count > 0);
    assert!(samples.iter().all(counted), "a sample counts nothing");
    assert_eq!(texts(&report["samples"], "mode").len(), 17, "{:?}", texts(&report["samples"], "mode"));
    assert_eq!(texts(&report["samples"], "work").len(), 12, "{:?}", texts(&report["samples"], "work"));
    let targets = report["targets"].as_array().expect("targets");
    // Once and briefly, what a proxy adds may be less than what noise adds.
    let is_noise = |target: &Value| target["what"].as_str().is_some_and(|what| what.contains("added"));
    let unknown = targets.iter().find(|target| target["found"].is_null() && !is_noise(target));
    assert!(
        targets.len() > 20 && unknown.is_none(),
        "{} targets, one without a figure: {unknown:?}",
        targets.len()
    );
    for part in ["prefixes", "workloads", "connections", "memory", "streams", "observing", "hop"] {
        assert!(!report[part].is_null(), "nothing is told of {part}");
    }

    let markdown = fs::read_to_string(directory.path().join("report.md")).expect("read report.md");
    let figures = texts(&report["figures"], "");
    assert!(figures.len() > 10, "{figures:?}");
    for figure in figures {
        let svg = fs::read_to_string(directory.path().join(format!("{figure}.svg")));
        assert!(svg.is_ok_and(|svg| svg.contains("<svg")), "{figure}.svg");
        assert!(markdown.contains(&format!("({figure}.svg)")), "report.md does not show {figure}.svg");
    }
    assert!(directory.path().join("report.html").is_file());
}

#[test]
fn an_interrupted_run_of_the_bench_keeps_what_it_has_measured_and_leaves_nothing() {
    needs_capture!(Need::Tool("ip"), Need::Tool("iptables"));
    let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("make a directory: {error}"));
    let mut run = bench("--rounds 500 --only connect-request-close", directory.path());
    let mut run = run
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("run: {error}"));
    let mut said = BufReader::new(run.stderr.take().expect("standard error")).lines().map_while(Result::ok);
    // A line now and then tells how many rounds are done.
    let measured = said.find(|line| line.contains(" of 500 steps") && !line.contains(" 0 of 500"));
    assert!(measured.is_some(), "it ended before the first round did");
    kill(Pid::from_raw(run.id().cast_signed()), Signal::SIGINT).expect("interrupt");
    let rest: Vec<String> = said.collect();
    let status = run.wait().expect("wait");
    assert!(!status.success(), "an interrupted run is no success");

    let report = report(directory.path());
    assert!(report["samples"].as_array().is_some_and(|samples| !samples.is_empty()));
    let notes = texts(&report["notes"], "");
    assert!(notes.iter().any(|note| note.contains("ended before its time")), "{notes:?}; {rest:?}");
    assert_eq!(leftovers(run.id()), [""; 0]);
}
