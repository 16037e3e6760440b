//! Installing Debian packages without starting what they bring.
//!
//! It does not choose them and does not judge the outcome: `setup` looks for what it wanted.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// Installs as many of `packages` as can be had, saying why of each that cannot.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    let _guard = NoDaemons::declare()?;
    // Lists that could not be renewed may still name the packages; the installation tells.
    if let Err(error) = process::run(apt_get().args(["update", "-qq"])) {
        eprintln!("setup: {error:#}");
    }
    if apt_install(packages).is_err() {
        // One package that is not to be had should not cost the others.
        for package in packages {
            if let Err(error) = apt_install(&[package]) {
                eprintln!("setup: {error:#}");
            }
        }
    }
    Ok(())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn apt_install(packages: &[&str]) -> Result<()> {
    let mut install = apt_get();
    install.args(["install", "-qq", "--yes", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0"]);
    process::run(install.args(packages))
}

/// Debian starts a server as soon as it is installed, unless this file forbids it. It goes when the guard does; one
/// that was there before stays.
struct NoDaemons {
    policy: Option<PathBuf>,
}

impl NoDaemons {
    fn declare() -> Result<Self> {
        let policy = PathBuf::from("/usr/sbin/policy-rc.d");
        let mut file = match File::create_new(&policy) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Ok(Self { policy: None });
            }
            Err(error) => return Err(error).with_context(|| format!("create {}", policy.display())),
        };
        let guard = Self { policy: Some(policy) };
        // 101: "action forbidden by policy" (invoke-rc.d).
        file.write_all(b"#!/bin/sh\nexit 101\n").context("write the policy against starting servers")?;
        file.set_permissions(fs::Permissions::from_mode(0o755))
            .context("make the policy against starting servers executable")?;
        Ok(guard)
    }
}

impl Drop for NoDaemons {
    fn drop(&mut self) {
        if let Some(policy) = &self.policy
            && let Err(error) = fs::remove_file(policy)
        {
            eprintln!("setup: {} is left and keeps servers from starting: {error}", policy.display());
        }
    }
}
