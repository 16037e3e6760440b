//! `build-ebpf`: the BPF object, built by the stable compiler into target/ebpf/sidestep.bpf.o.
//!
//! Building `core` for the BPF target needs `-Z build-std`, which the stable compiler grants under
//! RUSTC_BOOTSTRAP=1; so one toolchain builds everything. What the build lacks is installed under target/ or as a
//! rustup component; nothing is ever installed for the whole machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{self, capture, cargo, find_program, rustc};
use crate::workspace::Workspace;

/// bpf-linker runs on rustc's own LLVM library, so its version goes with [`LLVM_MAJOR`].
const LINKER_VERSION: &str = "0.10.4";
/// The LLVM that this bpf-linker speaks to; rustc 1.95 brings it.
const LLVM_MAJOR: &str = "22";
/// The only target of the object: the maps and contexts are little-endian on both machines we build for.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// What goes into the object.
#[derive(clap::Args, Default)]
pub(crate) struct Flags {
    /// Compile aya-log's debug lines into the programs (for debugging; slower, and more for the verifier)
    #[arg(long)]
    pub(crate) trace: bool,
}

/// Builds the object and returns where it is.
pub(crate) fn run(workspace: &Workspace, flags: &Flags) -> Result<PathBuf> {
    let toolchain = Toolchain::prepare(workspace)?;
    eprintln!("build-ebpf: compiling sidestep-ebpf for {TARGET}");
    let mut build = toolchain.cargo(workspace, "build");
    build.args(["--release", "--bin", "sidestep-bpf"]);
    if flags.trace {
        build.args(["--features", "trace"]);
    }
    let built = process::executables(&mut build)?;
    let [executable] = built.as_slice() else {
        bail!("expected cargo to build one BPF object, it built {built:?}");
    };
    let object = workspace.bpf_object();
    publish(&executable.path, &object)?;
    let size = fs::metadata(&object).with_context(|| format!("look at {}", object.display()))?.len();
    eprintln!("build-ebpf: {} ({size} bytes)", object.display());
    Ok(object)
}

/// A compiler, its library sources and a linker that together can make BPF objects.
#[derive(Debug)]
pub(crate) struct Toolchain {
    sysroot: PathBuf,
    linker: PathBuf,
}

impl Toolchain {
    /// Checks every piece and installs the ones that can be: rust-src and the pinned bpf-linker.
    pub(crate) fn prepare(workspace: &Workspace) -> Result<Self> {
        let version = capture(rustc().arg("-vV"))?;
        check_llvm(&version)?;
        let sysroot = PathBuf::from(capture(rustc().args(["--print", "sysroot"]))?.trim());
        ensure_library_sources(&sysroot)?;
        let linker = ensure_linker(&workspace.artifact("tools"))?;
        Ok(Self { sysroot, linker })
    }

    /// `cargo <verb>` for the BPF crate and target, with everything that the compiler and the linker need to hear.
    pub(crate) fn cargo(&self, workspace: &Workspace, verb: &str) -> Command {
        let mut command = cargo();
        command
            .current_dir(workspace.root())
            .arg(verb)
            .args(["--package", "sidestep-ebpf", "--target", TARGET, "-Z", "build-std=core"])
            .arg("--target-dir")
            .arg(workspace.artifact("ebpf-build"))
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker)
            // BTF is made from debug information, by the linker.
            .env("CARGO_ENCODED_RUSTFLAGS", ["-Cdebuginfo=2", "-Clink-arg=--btf"].join("\x1f"))
            // No hook of ours reads registers, so one object serves every machine; aya-ebpf wants to hear one.
            .env("AYA_BPF_TARGET_ARCH", env::consts::ARCH)
            .env("LD_LIBRARY_PATH", self.library_path());
        command
    }

    /// bpf-linker opens the first libLLVM along this path: rustc's must come before any other.
    fn library_path(&self) -> std::ffi::OsString {
        let ours = self.sysroot.join("lib").into_os_string();
        match env::var_os("LD_LIBRARY_PATH") {
            None => ours,
            Some(others) => [ours, others].join(":".as_ref()),
        }
    }
}

fn check_llvm(version: &str) -> Result<()> {
    let found = llvm_major(version).with_context(|| {
        format!("find the line \"LLVM version\" in the output of `rustc -vV`: {version:?}")
    })?;
    if found != LLVM_MAJOR {
        bail!(
            "bpf-linker {LINKER_VERSION} works with LLVM {LLVM_MAJOR}, this rustc brings LLVM {found}; \
             use the compiler that the project is built with: \
             `rustup toolchain install 1.95 && cargo +1.95 xtask build-ebpf`"
        );
    }
    Ok(())
}

/// The major version of rustc's LLVM, from the output of `rustc -vV`.
fn llvm_major(version: &str) -> Option<&str> {
    let line = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next()
}

fn ensure_library_sources(sysroot: &Path) -> Result<()> {
    let lock = sysroot.join("lib/rustlib/src/rust/library/Cargo.lock");
    if lock.is_file() {
        return Ok(());
    }
    eprintln!("build-ebpf: installing the rustup component rust-src");
    ensure_component("rust-src")?;
    if !lock.is_file() {
        bail!(
            "rustup installed rust-src, but {} is still missing: it served another toolchain",
            lock.display()
        );
    }
    Ok(())
}

/// Adds a component to the toolchain in use.
pub(crate) fn ensure_component(component: &str) -> Result<()> {
    if find_program("rustup").is_none() {
        bail!(
            "the Rust component {component} is missing and so is rustup, which would install it; install rustup \
             (`curl https://sh.rustup.rs -sSf | sh`), or the package of your distribution that brings {component}"
        );
    }
    process::run(Command::new("rustup").args(["component", "add", component])).with_context(|| {
        format!(
            "install the Rust component {component}; once online, `rustup component add {component}` does it"
        )
    })
}

fn ensure_linker(tools: &Path) -> Result<PathBuf> {
    let linker = tools.join("bin/bpf-linker");
    if linker_is_pinned(&linker) {
        return Ok(linker);
    }
    if find_program("cc").is_none() {
        bail!(
            "a C compiler is missing (`cc`), building bpf-linker needs one; install it: `apt-get install gcc libc6-dev`"
        );
    }
    eprintln!("build-ebpf: installing bpf-linker {LINKER_VERSION} into {} (about a minute)", tools.display());
    let mut install = cargo();
    install
        .args([
            "install",
            "bpf-linker",
            "--version",
            LINKER_VERSION,
            "--locked",
            "--force",
            "--quiet",
            "--root",
        ])
        .arg(tools)
        .arg("--target-dir")
        .arg(tools.join("bpf-linker-build"))
        // Flags meant for our own crates have no business in a tool.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    process::run(&mut install).with_context(|| format!("install bpf-linker {LINKER_VERSION}"))?;
    if !linker_is_pinned(&linker) {
        bail!("{} was installed but does not report version {LINKER_VERSION}", linker.display());
    }
    // The intermediate files are ten times the tool; a leftover is only wasted space.
    drop(fs::remove_dir_all(tools.join("bpf-linker-build")));
    Ok(linker)
}

fn linker_is_pinned(linker: &Path) -> bool {
    capture(Command::new(linker).arg("--version"))
        .is_ok_and(|version| version.trim() == format!("bpf-linker {LINKER_VERSION}"))
}

/// Puts a copy of `built` at `object` in one step: a build script that reads it meanwhile sees the old or the new
/// one, never a part. An identical object keeps its time, and spares the binary that embeds it a rebuild.
fn publish(built: &Path, object: &Path) -> Result<()> {
    let content = fs::read(built).with_context(|| format!("read {}", built.display()))?;
    if fs::read(object).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let directory = object.parent().with_context(|| format!("{} has no directory", object.display()))?;
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let draft = object.with_extension(format!("draft-{}", std::process::id()));
    fs::write(&draft, content).with_context(|| format!("write {}", draft.display()))?;
    fs::rename(&draft, object).with_context(|| format!("rename {} to {}", draft.display(), object.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_of_a_compiler_is_read_from_its_version() {
        let version = "rustc 1.95.0 (59807616e 2026-04-14)\nhost: x\nLLVM version: 22.1.2\n";
        assert_eq!(llvm_major(version), Some("22"));
        assert_eq!(llvm_major("rustc 1.95.0\n"), None);
    }

    #[test]
    fn a_compiler_with_another_llvm_is_refused_with_the_remedy() {
        let error = check_llvm("LLVM version: 23.0.1").unwrap_err().to_string();
        assert!(error.contains("brings LLVM 23") && error.contains("cargo +1.95"), "{error}");
    }

    #[test]
    fn an_unchanged_object_keeps_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let (built, object) = (directory.path().join("built"), directory.path().join("ebpf/object.o"));
        fs::write(&built, "first").unwrap();
        publish(&built, &object).unwrap();
        let first = fs::metadata(&object).unwrap().modified().unwrap();
        publish(&built, &object).unwrap();
        assert_eq!(fs::metadata(&object).unwrap().modified().unwrap(), first);
        fs::write(&built, "second").unwrap();
        publish(&built, &object).unwrap();
        assert_eq!(fs::read(&object).unwrap(), b"second");
        assert_eq!(fs::read_dir(object.parent().unwrap()).unwrap().count(), 1, "no draft is left");
    }
}
