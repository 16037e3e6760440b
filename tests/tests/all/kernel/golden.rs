//! How many instructions the verifier walks in each program: steady for one kernel and one object, so that a program
//! that grows is seen in a review. `SIDESTEP_BLESS=1` writes the file of the running kernel anew.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sidestep_tests::{Need, Pod, needs, needs_capture, sidestep};

/// The files, by kernel; part of this program, which may run where the repository is not.
const GOLDEN: [(&str, &str); 2] = [
    ("6.1", include_str!("../../../golden/verified-instructions.6.1.txt")),
    ("6.18", include_str!("../../../golden/verified-instructions.6.18.txt")),
];

#[test]
fn no_program_has_grown_or_shrunk_unseen() {
    needs_capture!();
    let pod = Pod::alone();
    let check = pod.sidecar().start(sidestep::binary(), ["check", "--json"]);
    check.succeed();
    let counted = counts(&serde_json::from_str(&check.stdout().join("\n")).unwrap());
    let kernel = kernel();
    if std::env::var("SIDESTEP_BLESS").as_deref() == Ok("1") {
        let file = directory().join(format!("verified-instructions.{kernel}.txt"));
        std::fs::write(&file, counted).unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
        return;
    }
    let golden = GOLDEN.iter().find(|(of, _)| *of == kernel).map(|(_, golden)| *golden);
    needs!(Need::Golden(golden.is_some()));
    let golden = golden.unwrap_or_default();
    assert_eq!(
        counted, golden,
        "verified instructions on Linux {kernel}; if the change is meant, run this with SIDESTEP_BLESS=1"
    );
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// Major and minor version of the running kernel.
fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel has a release");
    release.split(['.', '-']).take(2).collect::<Vec<_>>().join(".")
}

/// A line per program, sorted: its name and its instructions.
fn counts(report: &Value) -> String {
    let features = report["features"].as_array().expect("a list of features");
    let counts: BTreeMap<&str, u32> = features.iter().filter_map(program).collect();
    assert!(!counts.is_empty(), "no program in {report}");
    counts.iter().fold(String::new(), |mut text, (name, count)| {
        writeln!(text, "{name} {count}").unwrap_or_else(|error| panic!("{error}"));
        text
    })
}

/// What `check` says of a program, as "accepted, 901 instructions verified".
fn program(feature: &Value) -> Option<(&str, u32)> {
    let name = feature["name"].as_str()?.strip_prefix("sidestep_")?;
    let found = feature["found"].as_str()?;
    let count = found.split_whitespace().find_map(|word| word.parse().ok());
    Some((
        name,
        count.unwrap_or_else(|| panic!("expected a number of instructions of {name}, found {found:?}")),
    ))
}
