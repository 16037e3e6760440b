//! What is attached where, as `bpftool` sees it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::story::Story;
use crate::lab::Pod;
use crate::process::{capture, find_program};

/// What all our programs' names begin with.
const OURS: &str = "sidestep_";

pub(super) fn is_bpftool_here() -> bool {
    find_program("bpftool").is_some()
}

/// Claims that the pod's own cgroup and namespace hold our programs, and no cgroup above does.
pub(super) fn attached(story: &mut Story, pod: &Pod) {
    if !is_bpftool_here() {
        story.tell("– bpftool is not on this machine");
        return;
    }
    let below = on(pod.cgroup()).and_then(|programs| {
        let connect = |program: &String| program.contains("inet4_connect") && program.contains(OURS);
        ensure!(programs.iter().any(connect), "expected a program of ours at connect, found {programs:?}");
        Ok(programs.join("\n"))
    });
    story.claim(&format!("programs on {}", pod.cgroup().display()), below);
    story.claim("one in its network namespace, for what comes in", in_namespace(pod));
    story.claim("and none on any cgroup above", none_above(pod));
}

/// Programs on a cgroup itself: what they are attached to, and their names.
pub(super) fn on(cgroup: &Path) -> Result<Vec<String>> {
    let listed = bpftool(&["cgroup", "show", &cgroup.display().to_string()])?;
    let programs = listed.iter().map(|program| {
        let word = |key: &str| program[key].as_str().unwrap_or("?");
        format!("{} {}", word("attach_type"), word("name"))
    });
    Ok(programs.collect())
}

fn in_namespace(pod: &Pod) -> Result<String> {
    let inode = pod.namespace_inode()?;
    let links = bpftool(&["link", "show"])?;
    let mut here = links.iter().filter(|link| link["netns_ino"].as_u64() == Some(inode));
    let link = here.next().with_context(|| format!("no link names the namespace {inode}"))?;
    Ok(format!("{} (link {})", link["attach_type"].as_str().unwrap_or("?"), link["id"]))
}

fn none_above(pod: &Pod) -> Result<String> {
    // Above the mount point there are directories, but no cgroups.
    let above = pod.cgroup().ancestors().skip(1).take_while(|path| path.join("cgroup.procs").exists());
    for cgroup in above {
        let programs = on(cgroup)?;
        let ours = programs.iter().find(|program| program.contains(OURS));
        ensure!(ours.is_none(), "{ours:?} is on {}", cgroup.display());
    }
    Ok(String::new())
}

fn bpftool(arguments: &[&str]) -> Result<Vec<Value>> {
    parse(&capture(Command::new("bpftool").arg("--json").args(arguments))?)
}

/// Reads a list; for nothing at all bpftool prints nothing at all.
fn parse(json: &str) -> Result<Vec<Value>> {
    match json.trim() {
        "" => Ok(Vec::new()),
        json => {
            serde_json::from_str(json).with_context(|| format!("expected bpftool's list, found {json:?}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_an_empty_list_and_nonsense_is_an_error() {
        assert!(parse("\n").unwrap().is_empty());
        assert_eq!(parse(r#"[{"id":1}]"#).unwrap().len(), 1);
        assert!(parse("Error: no such cgroup").is_err());
    }
}
