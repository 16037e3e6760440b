//! `image`: the image for one or more kinds of machine, from static binaries, under one name.
//!
//! podman or docker builds it; nothing runs in it meanwhile, so that no emulator is needed for a machine that is not this one.
//! It is not pushed.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::{self, Arch, Linkage, Profile};
use crate::build_ebpf;
use crate::process::{self, find_program};
use crate::workspace::Workspace;

/// What is built.
#[derive(clap::Args)]
pub(crate) struct Flags {
    /// What to call it
    #[arg(long, value_name = "NAME", default_value = "localhost/sidestep:latest")]
    tag: String,
    /// For which machines; several make a manifest list
    #[arg(long, value_enum, value_name = "ARCH", value_delimiter = ',')]
    arch: Vec<Arch>,
}

/// Builds the binaries and the image.
pub(crate) fn run(workspace: &Workspace, flags: &Flags) -> Result<()> {
    let Some(builder) = ["podman", "docker"].into_iter().find(|name| find_program(name).is_some()) else {
        bail!("podman and docker are missing, one of them builds images: `apt-get install podman`");
    };
    let arches = if flags.arch.is_empty() { vec![Arch::host()?] } else { flags.arch.clone() };
    build_ebpf::run(workspace, &build_ebpf::Flags::default())?;
    let mut names = Vec::new();
    for arch in &arches {
        let binary = build::sidestep(workspace, Profile::Release, Linkage::Static(*arch))
            .with_context(|| format!("build for {}", platform(*arch)))?;
        let context = workspace.artifact(&format!("image/{}", platform(*arch).replace('/', "-")));
        lay_out(&binary, &context)?;
        let name = if arches.len() == 1 {
            flags.tag.clone()
        } else {
            format!("{}-{}", flags.tag, platform(*arch).rsplit('/').next().unwrap_or_default())
        };
        let mut build = Command::new(builder);
        // A cached layer brings the machine along that it was made for.
        build.args(["build", "--no-cache", "--platform", platform(*arch), "--tag", &name, "--file"]);
        build.arg(workspace.root().join("deploy/Containerfile")).arg(&context);
        process::run(&mut build).with_context(|| format!("build the image {name}"))?;
        names.push(name);
    }
    if names.len() > 1 {
        list(builder, &flags.tag, &names)?;
    }
    println!("image: {}", flags.tag);
    Ok(())
}

/// One name for the images of several machines.
fn list(builder: &str, tag: &str, names: &[String]) -> Result<()> {
    if builder == "docker" {
        bail!(
            "docker makes a list of images that are in a registry only: push {}, then `docker manifest create {tag} {}`",
            names.join(" and "),
            names.join(" ")
        );
    }
    // A list of an earlier run would be added to.
    let _absent = Command::new(builder).args(["manifest", "rm", tag]).output();
    process::run(Command::new(builder).args(["manifest", "create", tag]))?;
    for name in names {
        let image = format!("containers-storage:{name}");
        process::run(Command::new(builder).args(["manifest", "add", tag, &image]))
            .with_context(|| format!("add {name} to {tag}"))?;
    }
    Ok(())
}

/// The build context: a directory with the binary and nothing else.
fn lay_out(binary: &Path, context: &Path) -> Result<()> {
    fs::create_dir_all(context).with_context(|| format!("create {}", context.display()))?;
    fs::copy(binary, context.join("sidestep"))
        .with_context(|| format!("copy {} to {}", binary.display(), context.display()))?;
    Ok(())
}

/// As images call it.
const fn platform(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "linux/amd64",
        Arch::Aarch64 => "linux/arm64",
    }
}
