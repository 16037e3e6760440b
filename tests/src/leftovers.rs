//! The proof that nothing stays behind, asked of the kernel and not of the product.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::namespace::owner_is_gone;
use crate::need::find;
use crate::patience::eventually;
use crate::sidestep::BPFFS;
use crate::{Cgroup, Namespace, Pod};

/// Waits until nothing of Sidestep's is left in or for a pod: pins, attached programs, cgroups that the test did
/// not make, netfilter tables, policy rules.
///
/// # Panics
/// When something is still there after the patience, with the list.
pub fn none(pod: &Pod) {
    eventually("nothing of sidestep's is left", || {
        let found = of(pod);
        if found.is_empty() { Ok(()) } else { Err(found) }
    });
}

/// What is there of Sidestep's in or for a pod now.
#[must_use]
pub fn of(pod: &Pod) -> Vec<String> {
    let mut found = pins(&pod.workload);
    found.extend(attachments(pod));
    let known = ["app", "sidecar"];
    let strange = pod.cgroup.children().into_iter().filter(|name| !known.contains(&name.as_str()));
    found.extend(strange.map(|name| format!("cgroup {name}")));
    found.extend(runs(pod));
    found.extend(netfilter(&pod.namespace));
    found
}

/// Where a workload's pins are: directories of its name, which the product may have made longer.
#[must_use]
pub fn pin_directories(workload: &str) -> Vec<PathBuf> {
    let belongs =
        |name: &str| name.strip_prefix(workload).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    let entries = std::fs::read_dir(Path::new(BPFFS).join("sidestep")).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(belongs))
        .map(|entry| entry.path())
        .collect()
}

/// A workload's pins.
#[must_use]
pub fn pins(workload: &str) -> Vec<String> {
    pin_directories(workload).iter().map(|directory| format!("pins in {}", directory.display())).collect()
}

/// Pins and cgroups of `sidestep run` commands that have ended.
fn runs(pod: &Pod) -> Vec<String> {
    let pins = std::fs::read_dir(Path::new(BPFFS).join("sidestep")).into_iter().flatten().flatten();
    let pins = pins.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let dead = pins.filter(|name| owner_is_gone(name, "run-")).map(|name| format!("pins of {name}"));
    let cgroups = [&pod.app_cgroup, &pod.sidecar_cgroup].into_iter().flat_map(|cgroup| {
        let below = cgroup.children().into_iter();
        below.map(|name| format!("cgroup {}/{name}", cgroup.path().display()))
    });
    dead.chain(cgroups).collect()
}

/// Programs attached to the pod's cgroups and namespace, as `bpftool` sees them; nothing where it is missing.
#[must_use]
pub fn attachments(pod: &Pod) -> Vec<String> {
    if find("bpftool").is_none() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for cgroup in [&pod.cgroup, &pod.app_cgroup, &pod.sidecar_cgroup] {
        for program in cgroup_programs(cgroup) {
            found.push(format!("program {program} on {}", cgroup.path().display()));
        }
    }
    let inode = pod.namespace.inode();
    for link in bpftool(&["link", "show"]) {
        if link["netns_ino"].as_u64() == Some(inode) {
            found.push(format!("link {link}"));
        }
    }
    found
}

/// Programs attached to a cgroup itself; needs `bpftool`.
#[must_use]
pub fn cgroup_programs(cgroup: &Cgroup) -> Vec<Value> {
    bpftool(&["cgroup", "show", &cgroup.path().display().to_string()])
}

/// Netfilter tables and policy rules of a namespace that are not the kernel's own.
#[must_use]
pub fn netfilter(namespace: &Namespace) -> Vec<String> {
    let mut found = Vec::new();
    for file in ["ip_tables_names", "ip6_tables_names"] {
        let tables = namespace.inside(|| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")));
        found.extend(tables.unwrap_or_default().lines().map(|table| format!("{file}: {table}")));
    }
    if find("nft").is_some() {
        let listed = namespace.inside(|| Command::new("nft").args(["list", "ruleset"]).output());
        let ruleset = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        found.extend(ruleset.unwrap_or_default().lines().map(|line| format!("nft: {line}")));
    }
    // The kernel's own three, without which nothing would be routed.
    let own = ["local", "main", "default"];
    for family in ["-4", "-6"] {
        let rules = namespace.ip(&[family, "rule", "show"]);
        let strange = rules.lines().filter(|rule| !own.iter().any(|table| rule.trim_end().ends_with(table)));
        found.extend(strange.map(|rule| format!("rule: {rule}")));
    }
    found
}

/// What `bpftool` lists; an empty list where it fails, as for a cgroup that is gone.
fn bpftool(arguments: &[&str]) -> Vec<Value> {
    let output = Command::new("bpftool").arg("--json").args(arguments).output();
    let listed = output.ok().and_then(|output| serde_json::from_slice(&output.stdout).ok());
    match listed {
        Some(Value::Array(entries)) => entries,
        _ => Vec::new(),
    }
}

/// The names of a pod's parts, to ask after them when the pod is gone.
#[derive(Clone, Debug)]
pub struct Traces {
    workload: String,
    cgroup: PathBuf,
    namespace: PathBuf,
}

impl Traces {
    /// What to look for after `pod`.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        Self {
            workload: pod.workload.clone(),
            cgroup: pod.cgroup.path().to_owned(),
            namespace: pod.namespace.path(),
        }
    }

    /// What is still there.
    #[must_use]
    pub fn found(&self) -> Vec<String> {
        let mut found = pins(&self.workload);
        let paths = [&self.cgroup, &self.namespace].into_iter().filter(|path| path.exists());
        found.extend(paths.map(|path| path.display().to_string()));
        found
    }
}
