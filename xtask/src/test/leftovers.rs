//! What the tests might leave on the machine: two looks at it, before and after, and the difference.
//!
//! It removes nothing: what is left is evidence. What was there before is not ours to judge.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{capture, find_program};

/// How long the kernel may take to free what nobody holds any more.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const PULSE: Duration = Duration::from_millis(200);

/// How many of each thing the machine has, by a description that tells one kind of thing from another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Look {
    things: BTreeMap<String, usize>,
}

impl Look {
    /// Looks at everything a test may leave. What this machine cannot tell (no bpftool, no root) is not in it, neither
    /// before nor after.
    pub(super) fn at_the_machine() -> Self {
        let mut look = Self::default();
        look.add("network namespace", ours_in(Path::new("/run/netns")));
        look.add("pin", ours_in(Path::new("/sys/fs/bpf")));
        look.add("cgroup", cgroups());
        look.add("process", processes());
        look.add("BPF program", bpf_objects("prog"));
        look.add("BPF link", bpf_objects("link"));
        for tool in ["iptables-save", "ip6tables-save"] {
            look.add(tool, rules(tool));
        }
        look.add("nftables", nft_tables());
        look
    }

    fn add(&mut self, kind: &str, names: Vec<String>) {
        for name in names {
            *self.things.entry(format!("{kind} {name}")).or_default() += 1;
        }
    }

    /// What is here now and was not, or not as often, in `before`.
    fn beyond(&self, before: &Self) -> Vec<String> {
        let extra = self.things.iter().filter_map(|(thing, now)| {
            let more = now.saturating_sub(before.things.get(thing).copied().unwrap_or(0));
            match more {
                0 => None,
                1 => Some(thing.clone()),
                _ => Some(format!("{thing} ({more} times)")),
            }
        });
        extra.collect()
    }
}

/// What is left of the tests since `before`, once the kernel had its time to tidy up.
pub(super) fn since(before: &Look) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = Look::at_the_machine().beyond(before);
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        thread::sleep(PULSE);
    }
}

/// Whether a name is one that we or our tests give.
fn is_ours(name: &str) -> bool {
    name.contains("sidestep")
}

fn ours_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
    names.filter(|name| is_ours(name)).collect()
}

/// Our cgroups, wherever cgroup2 is mounted.
fn cgroups() -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let Some(root) = cgroup2_mount(&mounts) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(directory) = open.pop() {
        // A cgroup may go while we look.
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()).filter(|path| path.is_dir()) {
            if path.file_name().is_some_and(|name| is_ours(&name.to_string_lossy())) {
                found.push(path.display().to_string());
            }
            open.push(path);
        }
    }
    found
}

fn cgroup2_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let path = fields.next()?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(path))
    })
}

/// The names of running programs of ours.
fn processes() -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let programs = entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse::<u32>().ok()?;
        let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        let name = program.file_name()?.to_str()?.trim_end_matches(" (deleted)").to_owned();
        ["sidestep", "sidestep-peer"].contains(&name.as_str()).then_some(name)
    });
    programs.collect()
}

fn bpf_objects(kind: &str) -> Vec<String> {
    capture(Command::new("bpftool").args(["--json", kind, "list"]))
        .map(|json| parse_bpf_objects(&json))
        .unwrap_or_default()
}

/// What tells one kind of program or link from another; numbers are different each time.
fn parse_bpf_objects(json: &str) -> Vec<String> {
    let objects: Vec<Value> = serde_json::from_str(json).unwrap_or_default();
    let description = |object: &Value| {
        let words = ["type", "name", "attach_type"].map(|key| object[key].as_str().unwrap_or_default());
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    };
    objects.iter().map(description).collect()
}

fn rules(tool: &str) -> Vec<String> {
    if find_program(tool).is_none() {
        return Vec::new();
    }
    capture(&mut Command::new(tool)).map(|dump| parse_rules(&dump)).unwrap_or_default()
}

/// The rules and the chains that somebody made; built-in chains, tables and counters are not told from none.
fn parse_rules(dump: &str) -> Vec<String> {
    let is_rule = |line: &&str| line.starts_with("-A ") || (line.starts_with(':') && line.contains(" - "));
    let without_counters = |line: &str| line.split(" [").next().unwrap_or(line).to_owned();
    dump.lines().filter(is_rule).map(without_counters).collect()
}

/// Tables beyond the ones that iptables' own reading of them would make.
fn nft_tables() -> Vec<String> {
    let listed = capture(Command::new("nft").args(["list", "tables"])).unwrap_or_default();
    let tables = listed.lines().map(|line| line.trim_start_matches("table ").to_owned());
    tables.filter(|table| is_ours(table)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(things: &[(&str, usize)]) -> Look {
        Look { things: things.iter().map(|(thing, count)| ((*thing).to_owned(), *count)).collect() }
    }

    #[test]
    fn only_what_was_not_there_before_is_left_behind() {
        let before = look(&[("BPF program cgroup_device", 2), ("pin sidestep", 1)]);
        let after = look(&[("BPF program cgroup_device", 4), ("pin sidestep", 1), ("cgroup /c/sidestep", 1)]);
        assert_eq!(after.beyond(&before), ["BPF program cgroup_device (2 times)", "cgroup /c/sidestep"]);
        assert!(before.beyond(&after).is_empty());
    }

    #[test]
    fn programs_are_described_by_type_and_name() {
        let json =
            r#"[{"id":4,"type":"cgroup_sock_addr","name":"connect_four"},{"id":9,"type":"sk_lookup"}]"#;
        assert_eq!(parse_bpf_objects(json), ["cgroup_sock_addr connect_four", "sk_lookup"]);
        assert!(parse_bpf_objects("{\"error\":\"not root\"}").is_empty());
    }

    #[test]
    fn rules_are_told_from_empty_tables_and_counters() {
        let dump = "*nat\n:OUTPUT ACCEPT [5:300]\n:SIDESTEP - [0:0]\n-A OUTPUT -p tcp -j SIDESTEP\nCOMMIT\n";
        assert_eq!(parse_rules(dump), [":SIDESTEP -", "-A OUTPUT -p tcp -j SIDESTEP"]);
    }

    #[test]
    fn cgroup2_is_found_beside_the_old_hierarchies() {
        let mounts =
            "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(cgroup2_mount(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(cgroup2_mount("proc /proc proc rw 0 0\n"), None);
    }
}
