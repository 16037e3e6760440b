//! A file of Istio's resources that a sidecar watches while it runs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::lab::Lab;

/// The file.
#[derive(Debug)]
pub(super) struct RulesFile(PathBuf);

impl RulesFile {
    /// One in a directory of its own, which is not there before something is said in it.
    pub(super) fn new(lab: &Lab, directory: &str) -> Self {
        Self(lab.file(directory).join("rules.yaml"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// What it says.
    pub(super) fn text(&self) -> Result<String> {
        fs::read_to_string(&self.0).with_context(|| format!("read {}", self.0.display()))
    }

    /// Writes it anew, whole at once: it is being watched.
    pub(super) fn say(&self, text: &str) -> Result<()> {
        let directory = self.0.parent().context("the rules have no directory")?;
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        let new = self.0.with_extension("new");
        fs::write(&new, text).with_context(|| format!("write {}", new.display()))?;
        fs::rename(&new, &self.0).with_context(|| format!("put {} in its place", self.0.display()))
    }
}
