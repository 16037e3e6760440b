//! `sidestep cleanup`: removes what a process that died left behind: pins, cgroups of `run`, sockets, iptables rules.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::admin::local::DIRECTORY;
use crate::agent::asking;
use crate::agent::scope::CGROUP_PREFIX;
use crate::cli::{CleanupArgs, Doing};
use crate::config::WorkloadName;
use crate::datapath::pins::{self, Cleaned, Cleanup};
use crate::netfilter::{self, Found, NetfilterError};
use crate::sys::cgroup::{self, Cgroup};

/// Cleans up and says what was done. First the processes that a dead agent left, then what refused their connections:
/// nothing that was to be captured goes on uncaptured.
///
/// # Errors
/// If something that should go stays, or a named workload left nothing.
pub(super) fn clean(args: &CleanupArgs) -> Result<()> {
    let workload = args.workload.as_ref().map(WorkloadName::as_str);
    let (how, verb) = match args.doing() {
        Doing::Show => (Cleanup::DryRun, "would remove"),
        Doing::Remove => (Cleanup::Remove, "removed"),
    };
    let left = left_cgroups(workload);
    for cgroup in &left {
        if how == Cleanup::Remove {
            cgroup.destroy()?;
        }
        println!("{verb} the cgroup {} and the processes in it", cgroup.path().display());
    }
    let cleaned = pins::clean(workload, how)?;
    for cleaned in &cleaned {
        match cleaned {
            Cleaned::Removed(name) => println!("{verb} the pins of {}", owner(name)),
            Cleaned::InUse(name) => println!("kept the pins of {}: a live process serves it", owner(name)),
        }
    }
    let sockets = clean_sockets(args.workload.as_ref(), how, verb);
    let rules = workload.is_none() && clean_rules(how)? == Found::Rules;
    if rules {
        println!("{verb} the iptables rules in this network namespace");
    }
    match (workload, left.is_empty() && cleaned.is_empty() && sockets == 0 && !rules) {
        (Some(name), true) => bail!("expected something left behind by the workload {name}, found nothing"),
        (None, true) => println!("nothing to clean up"),
        (_, false) => {}
    }
    Ok(())
}

/// Whose pins are called that.
fn owner(name: &str) -> String {
    if name == pins::NODE { "the node".to_owned() } else { format!("workload {name}") }
}

/// Sockets at which nobody answers any more: how many.
fn clean_sockets(workload: Option<&WorkloadName>, how: Cleanup, verb: &str) -> usize {
    let mut count = 0;
    for socket in asking::sockets(Path::new(DIRECTORY)) {
        let path = socket.path();
        let meant = workload.is_none_or(|workload| asking::is_of(&socket.name, workload.as_str()));
        if meant && socket.is_dead() && (how == Cleanup::DryRun || fs::remove_file(path).is_ok()) {
            println!("{verb} the socket {}", path.display());
            count += 1;
        }
    }
    count
}

/// Rules of an iptables capture whose agent is gone, in this network namespace. They name no workload.
fn clean_rules(how: Cleanup) -> Result<Found> {
    let found = match how {
        Cleanup::DryRun => netfilter::find(),
        Cleanup::Remove => netfilter::remove(),
    };
    match found {
        // Where there is no iptables, no rule of ours was ever put; where a live process holds them, they stay.
        Err(NetfilterError::Missing { .. } | NetfilterError::Taken) => Ok(Found::Nothing),
        found => Ok(found?),
    }
}

/// Cgroups of `run` commands whose agent is gone: of one workload, or all.
fn left_cgroups(workload: Option<&str>) -> Vec<Cgroup> {
    let Ok(mount) = cgroup::find_mount() else { return Vec::new() };
    let mut found = Vec::new();
    find_left(&mount, &mut found);
    let wanted = |path: &PathBuf| {
        workload.is_none_or(|workload| {
            path.file_name().is_some_and(|name| *name == *format!("sidestep-{workload}"))
        })
    };
    found.iter().filter(|path| wanted(path)).filter_map(|path| Cgroup::at(path).ok()).collect()
}

fn find_left(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        if !path.is_dir() {
            continue;
        }
        let agent =
            entry.file_name().to_str().and_then(|name| name.strip_prefix(CGROUP_PREFIX)?.parse::<u32>().ok());
        match agent {
            // The agent lives in the cgroup named `instance` while it serves.
            Some(_) => {
                let serves =
                    Cgroup::at(&path.join("instance")).and_then(|instance| Ok(instance.is_populated()?));
                if !serves.unwrap_or(false) {
                    found.push(path);
                }
            }
            None => find_left(&path, found),
        }
    }
}
