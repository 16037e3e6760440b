//! `build`: the `sidestep` binary with the BPF object inside, for this machine or as one static file.
//!
//! It sets no compiler flags that a plain `cargo build` of the same target would miss, except the linker of the static
//! targets, rustc's own lld, and the C compiler of their one part in C, AWS-LC, which asks nothing of the C library that
//! musl has not: so that musl-gcc does not have to be installed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build_ebpf;
use crate::process::{self, Executable, capture, cargo, find_program, rustc};
use crate::workspace::Workspace;

/// Which binary to build.
#[derive(clap::Args, Default)]
pub(crate) struct Flags {
    /// Optimise
    #[arg(long)]
    release: bool,
    /// Link everything statically (musl): one file that runs on any Linux and in an image FROM scratch
    #[arg(long = "static")]
    statically: bool,
    /// The machine the static binary is for; this one by default
    #[arg(long, requires = "statically", value_name = "ARCH")]
    target_arch: Option<Arch>,
}

/// A processor that static binaries are built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arch {
    /// 64-bit x86.
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit Arm.
    #[value(name = "aarch64")]
    Aarch64,
}

impl Arch {
    /// The machine we run on.
    pub(crate) fn host() -> Result<Self> {
        match env::consts::ARCH {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Aarch64),
            other => bail!("static binaries are built for x86_64 and aarch64, this machine is {other}"),
        }
    }

    /// What compiles C for it on this machine.
    fn c_compiler(self) -> Result<&'static str> {
        match self {
            _ if self == Self::host()? => Ok("cc"),
            Self::X86_64 => Ok("x86_64-linux-gnu-gcc"),
            Self::Aarch64 => Ok("aarch64-linux-gnu-gcc"),
        }
    }

    fn musl_target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-musl",
            Self::Aarch64 => "aarch64-unknown-linux-musl",
        }
    }
}

/// What a build is optimised for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Building fast.
    Dev,
    /// Running fast.
    Release,
}

/// How a binary finds its libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Linkage {
    /// The C library of this machine.
    Host,
    /// None needed: musl inside.
    Static(Arch),
}

/// Builds the object and the binary, and says where the binary is and how large.
pub(crate) fn run(workspace: &Workspace, flags: &Flags) -> Result<()> {
    let profile = if flags.release { Profile::Release } else { Profile::Dev };
    let linkage = match (flags.statically, flags.target_arch) {
        (false, _) => Linkage::Host,
        (true, None) => Linkage::Static(Arch::host()?),
        (true, Some(arch)) => Linkage::Static(arch),
    };
    build_ebpf::run(workspace, &build_ebpf::Flags::default())?;
    let binary = sidestep(workspace, profile, linkage)?;
    let size = fs::metadata(&binary).with_context(|| format!("look at {}", binary.display()))?.len();
    println!("{} ({:.1} MiB)", binary.display(), size as f64 / f64::from(1 << 20));
    Ok(())
}

/// Builds the `sidestep` binary; the BPF object must be there.
pub(crate) fn sidestep(workspace: &Workspace, profile: Profile, linkage: Linkage) -> Result<PathBuf> {
    let mut build = prepared(workspace, "build", profile, linkage)?;
    build.args(["--package", "sidestep", "--bin", "sidestep"]);
    only_executable(&process::executables(&mut build)?, "sidestep")
}

/// What the kernel and the system ring run besides the product.
#[derive(Debug)]
pub(crate) struct TestPrograms {
    /// The one test program.
    pub(crate) all: PathBuf,
    /// The programs that play the workloads' part.
    pub(crate) peer: PathBuf,
}

/// Builds the programs of the kernel and system rings, without running them.
pub(crate) fn tests(workspace: &Workspace, profile: Profile, linkage: Linkage) -> Result<TestPrograms> {
    let mut build = prepared(workspace, "test", profile, linkage)?;
    build.args(["--package", "sidestep-tests", "--test", "all", "--no-run"]);
    let built = process::executables(&mut build)?;
    Ok(TestPrograms { all: only_executable(&built, "all")?, peer: only_executable(&built, "sidestep-peer")? })
}

fn prepared(workspace: &Workspace, verb: &str, profile: Profile, linkage: Linkage) -> Result<Command> {
    let mut command = cargo();
    command.current_dir(workspace.root()).arg(verb);
    if profile == Profile::Release {
        command.arg("--release");
    }
    if let Linkage::Static(arch) = linkage {
        let target = arch.musl_target();
        ensure_target(target)?;
        let linker = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"));
        let compiler = format!("CC_{}", target.replace('-', "_"));
        command.args(["--target", target]).env(linker, "rust-lld").env(compiler, installed(arch)?);
    }
    Ok(command)
}

/// The C compiler for a machine.
fn installed(arch: Arch) -> Result<&'static str> {
    let compiler = arch.c_compiler()?;
    if find_program(compiler).is_none() {
        let package =
            compiler.strip_suffix("-gcc").map_or("gcc".to_owned(), |triple| format!("gcc-{triple}"));
        bail!(
            "the C compiler {compiler} is missing, AWS-LC is partly C; install it: `apt-get install {package}`"
        );
    }
    Ok(compiler)
}

fn ensure_target(target: &str) -> Result<()> {
    let sysroot = capture(rustc().args(["--print", "sysroot"]))?;
    if Path::new(sysroot.trim()).join("lib/rustlib").join(target).join("lib").is_dir() {
        return Ok(());
    }
    eprintln!("build: installing the Rust target {target}");
    if find_program("rustup").is_none() {
        bail!(
            "the Rust target {target} is missing and so is rustup, which would install it: \
             `curl https://sh.rustup.rs -sSf | sh`, then `rustup target add {target}`"
        );
    }
    process::run(Command::new("rustup").args(["target", "add", target]))
        .with_context(|| format!("install the Rust target {target}"))
}

fn only_executable(built: &[Executable], target: &str) -> Result<PathBuf> {
    let found = built.iter().find(|executable| executable.target == target);
    found
        .map(|executable| executable.path.clone())
        .with_context(|| format!("expected cargo to build the executable {target}, it built {built:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wanted_executable_is_picked_by_its_target() {
        let built =
            |target: &str| Executable { target: target.to_owned(), path: format!("/t/{target}").into() };
        let path = only_executable(&[built("build-script"), built("sidestep")], "sidestep").unwrap();
        assert_eq!(path, Path::new("/t/sidestep"));
        let error = only_executable(&[built("all")], "sidestep").unwrap_err().to_string();
        assert!(error.contains("executable sidestep") && error.contains("/t/all"), "{error}");
    }
}
