//! The product's pinned maps, as `bpftool` reads and writes them: for what cannot be brought about from outside.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Pod;
use crate::leftovers::pin_directories;

/// A pinned map of a workload.
#[derive(Debug)]
pub struct PinnedMap {
    path: PathBuf,
}

impl PinnedMap {
    /// The map of that name of a pod's workload; needs `bpftool`.
    ///
    /// # Panics
    /// When it is not pinned.
    #[must_use]
    pub fn of(pod: &Pod, name: &str) -> Self {
        let directories = pin_directories(&pod.workload);
        let path = directories.iter().find_map(|directory| file_below(directory, name));
        Self { path: path.unwrap_or_else(|| panic!("no map {name} is pinned for {}", pod.workload)) }
    }

    /// How many entries it holds.
    ///
    /// # Panics
    /// When `bpftool` fails.
    #[must_use]
    pub fn entries(&self) -> usize {
        match self.bpftool(&["dump"]) {
            Value::Array(entries) => entries.len(),
            strange => panic!("expected a list of entries, found {strange}"),
        }
    }

    /// How many entries it can hold.
    ///
    /// # Panics
    /// When `bpftool` fails.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.number("max_entries")
    }

    /// Fills it up with `count` entries whose keys are all ones but for a number at their end, and whose values are zero.
    ///
    /// # Panics
    /// When `bpftool` fails.
    pub fn fill(&self, count: u32) {
        let value = "00 ".repeat(self.number("bytes_value") as usize);
        self.batch(count, |line, key| {
            writeln!(line, "map update pinned {} key hex {key} value hex {value}", self.path.display())
        });
    }

    /// Takes away what [`Self::fill`] put in.
    ///
    /// # Panics
    /// When `bpftool` fails.
    pub fn empty(&self, count: u32) {
        self.batch(count, |line, key| {
            writeln!(line, "map delete pinned {} key hex {key}", self.path.display())
        });
    }

    fn batch(&self, count: u32, line: impl Fn(&mut String, &str) -> std::fmt::Result) {
        let ones = "ff ".repeat(self.number("bytes_key") as usize - 4);
        let mut batch = String::new();
        for number in 0..count {
            let bytes = number.to_le_bytes().map(|byte| format!("{byte:02x}"));
            line(&mut batch, &(ones.clone() + &bytes.join(" "))).unwrap_or_else(|error| panic!("{error}"));
        }
        let directory =
            tempfile::tempdir().unwrap_or_else(|error| panic!("make a temporary directory: {error}"));
        let file = directory.path().join("batch");
        std::fs::write(&file, batch).unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
        let status =
            Command::new("bpftool").arg("batch").arg("file").arg(&file).stdout(Stdio::null()).status();
        assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "bpftool batch: {status:?}");
    }

    fn number(&self, field: &str) -> u32 {
        let shown = self.bpftool(&["show"]);
        shown[field]
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or_else(|| panic!("expected {field} of the map, found {shown}"))
    }

    fn bpftool(&self, what: &[&str]) -> Value {
        let output =
            Command::new("bpftool").args(["--json", "map"]).args(what).arg("pinned").arg(&self.path).output();
        let output = output.unwrap_or_else(|error| panic!("run bpftool: {error}"));
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

fn file_below(directory: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).ok()?.flatten();
    entries.map(|entry| entry.path()).find_map(|path| match path.is_dir() {
        true => file_below(&path, name),
        false => path.file_name().is_some_and(|found| found == name).then_some(path),
    })
}
