//! What an agent holds: memory, descriptors, BPF objects, threads and pins. Read from outside.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::bench::account::resident_bytes;
use crate::bench::growth::kernel_memory;
use crate::lab::Agent;
use crate::lab::node::pinned;

/// What one agent holds at one time.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Census {
    /// How many pods it serves.
    pub(super) pods: usize,
    /// Its resident memory, in bytes.
    pub(super) resident_bytes: u64,
    /// Its maps and programs in the kernel, in bytes.
    pub(super) kernel_bytes: u64,
    pub(super) descriptors: usize,
    pub(super) maps: usize,
    pub(super) programs: usize,
    pub(super) links: usize,
    pub(super) threads: usize,
    /// Files below the directories of its pins.
    pub(super) pins: usize,
}

impl Census {
    pub(super) fn take(agent: &Agent<'_>, pods: usize) -> Result<Self> {
        let process = agent.pid();
        let directory = format!("/proc/{process}/fdinfo");
        let listed = fs::read_dir(&directory).with_context(|| format!("read {directory}"))?;
        // A descriptor may be closed while we look.
        let texts: Vec<String> =
            listed.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect();
        let threads = format!("/proc/{process}/task");
        Ok(Self {
            pods,
            resident_bytes: resident_bytes(process)?,
            kernel_bytes: kernel_memory::of_bpf(process)?,
            descriptors: texts.len(),
            maps: different(&texts, "map_id:"),
            programs: different(&texts, "prog_id:"),
            links: different(&texts, "link_id:"),
            threads: fs::read_dir(&threads).with_context(|| format!("read {threads}"))?.count(),
            pins: pinned().iter().map(|directory| files(directory)).sum(),
        })
    }

    /// What counts as a leak if there is more of it when as many pods have come as have gone.
    pub(super) fn objects(&self) -> usize {
        self.descriptors + self.maps + self.programs + self.links + self.threads + self.pins
    }

    /// For a table.
    pub(super) fn row(&self) -> Vec<String> {
        let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        let mut row = vec![megabytes(self.resident_bytes), megabytes(self.kernel_bytes)];
        let counts = [self.descriptors, self.maps, self.programs, self.links, self.threads, self.pins];
        row.extend(counts.map(|count| count.to_string()));
        row
    }

    /// What the columns of [`Self::row`] are.
    pub(super) const COLUMNS: [&'static str; 8] =
        ["resident", "BPF memory", "descriptors", "maps", "programs", "links", "threads", "pins"];
}

/// How many different objects a field of descriptors names.
fn different(descriptors: &[String], field: &str) -> usize {
    let names = descriptors.iter().filter_map(|text| text.lines().find_map(|line| line.strip_prefix(field)));
    names.map(str::trim).collect::<BTreeSet<_>>().len()
}

/// Files in a directory and below.
fn files(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()),
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_several_descriptors_name_counts_once() {
        let texts = ["map_id:\t7\n", "pos:\t0\nmap_id:\t7\n", "map_id:\t8\n", "link_id:\t7\nprog_id:\t3\n"];
        let texts = texts.map(str::to_owned);
        assert_eq!(different(&texts, "map_id:"), 2);
        assert_eq!(different(&texts, "prog_id:"), 1);
    }
}
