//! How often our BPF programs run and how long they take, by the kernel's statistics.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::lab::Pod;
use crate::process::capture;

/// Whether the kernel keeps statistics of BPF programs (Documentation/admin-guide/sysctl/kernel.rst). They cost each run
/// of every program on the machine some nanoseconds.
pub(super) const STATISTICS: &str = "kernel/bpf_stats_enabled";

/// How often a program has run and how long in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) name: String,
    pub(super) count: u64,
    pub(super) nanoseconds: u64,
}

/// The programs on a pod's cgroups, by the kernel's number for them.
pub(super) fn of(pod: &Pod) -> Result<BTreeMap<u64, Run>> {
    let listed = bpftool(&["cgroup", "tree", &pod.cgroup().display().to_string()])?;
    let mut runs = BTreeMap::new();
    for id in ids(&listed) {
        let program = bpftool(&["prog", "show", "id", &id.to_string()])?;
        runs.insert(id, run(&program));
    }
    Ok(runs)
}

/// What ran between two looks; programs that did not are left out.
pub(super) fn between(before: &BTreeMap<u64, Run>, after: &BTreeMap<u64, Run>) -> Vec<Run> {
    let ran = after.iter().filter_map(|(id, after)| {
        let (count, nanoseconds) = before.get(id).map_or((0, 0), |before| (before.count, before.nanoseconds));
        let run = Run {
            name: after.name.clone(),
            count: after.count.saturating_sub(count),
            nanoseconds: after.nanoseconds.saturating_sub(nanoseconds),
        };
        (run.count > 0).then_some(run)
    });
    ran.collect()
}

fn bpftool(arguments: &[&str]) -> Result<Value> {
    let said = capture(Command::new("bpftool").arg("--json").args(arguments))?;
    serde_json::from_str(&said).with_context(|| format!("expected JSON from bpftool, found {said:?}"))
}

fn ids(tree: &Value) -> Vec<u64> {
    let cgroups = tree.as_array().into_iter().flatten();
    let programs = cgroups.flat_map(|cgroup| cgroup["programs"].as_array().into_iter().flatten());
    programs.filter_map(|program| program["id"].as_u64()).collect()
}

fn run(program: &Value) -> Run {
    let number = |key: &str| program[key].as_u64().unwrap_or(0);
    Run {
        name: program["name"].as_str().unwrap_or("?").to_owned(),
        count: number("run_cnt"),
        nanoseconds: number("run_time_ns"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn programs_are_found_on_the_cgroup_and_below() {
        let tree = json!([
            { "cgroup": "/c", "programs": [{ "id": 4, "name": "sidestep_connect4" }] },
            { "cgroup": "/c/app", "programs": [{ "id": 9 }] },
        ]);
        assert_eq!(ids(&tree), [4, 9]);
        assert!(ids(&json!({ "error": "not root" })).is_empty());
    }

    #[test]
    fn only_what_ran_is_told() {
        let look = |count, nanoseconds| {
            let program = json!({ "name": "connect", "run_cnt": count, "run_time_ns": nanoseconds });
            BTreeMap::from([(1, run(&program)), (2, run(&json!({ "name": "idle" })))])
        };
        let ran = between(&look(10, 500), &look(12, 900));
        assert_eq!(ran, [Run { name: "connect".to_owned(), count: 2, nanoseconds: 400 }]);
    }
}
