//! Where things are: the workspace, cargo's target directory, and the places below target/ that the chores share.
//!
//! It creates nothing and asks no tool; a path that a chore writes to is created by that chore.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The checkout that this very xtask was built from.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Finds the workspace from the directory of xtask's own manifest, so a chore may be run from anywhere below.
    pub(crate) fn locate() -> Result<Self> {
        let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest_dir.parent().with_context(|| {
            format!("find the workspace above {}: it has no parent", manifest_dir.display())
        })?;
        Ok(Self { root: root.to_owned() })
    }

    /// The directory of the workspace's Cargo.toml.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the checkout's own target/, whatever CARGO_TARGET_DIR says: the BPF object, the tools and the
    /// virtual machine are found there by name, by build scripts too.
    pub(crate) fn artifact(&self, relative: &str) -> PathBuf {
        self.root.join("target").join(relative)
    }

    /// The BPF object that the `sidestep` binary embeds.
    pub(crate) fn bpf_object(&self) -> PathBuf {
        self.artifact("ebpf/sidestep.bpf.o")
    }
}
