//! `fuzz`: random bytes, guided by coverage, at everything that reads the bytes of strangers.
//!
//! The targets are a workspace of their own (tests/fuzz), because they need the nightly compiler. Seeds are made here, so
//! that no certificate lies in the repository; what the fuzzer learns stays below target/fuzz.

mod seeds;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build_ebpf;
use crate::process::{self, capture, cargo, find_program};
use crate::workspace::Workspace;

/// The fuzzer's driver.
const DRIVER_VERSION: &str = "0.13.2";
/// Most bytes of an input: more than any certificate has that is not meant to annoy.
const LONGEST_INPUT: &str = "8192";

/// What to fuzz, and for how long.
#[derive(clap::Args)]
pub(crate) struct Flags {
    /// Only this target
    #[arg(value_name = "TARGET", value_parser = clap::builder::PossibleValuesParser::new(seeds::TARGETS))]
    target: Option<String>,

    /// How long to fuzz each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
}

/// Fuzzes, and fails if anything was found. The input that did it is kept and named.
pub(crate) fn run(workspace: &Workspace, flags: &Flags) -> Result<()> {
    let fuzzer = Fuzzer::prepare(workspace)?;
    for target in
        seeds::TARGETS.into_iter().filter(|target| flags.target.as_deref().is_none_or(|only| only == *target))
    {
        fuzzer.run(target, flags.seconds)?;
    }
    Ok(())
}

/// The driver and the places that it works in.
struct Fuzzer {
    driver: PathBuf,
    root: PathBuf,
    home: PathBuf,
}

impl Fuzzer {
    /// Checks every piece and installs the ones that can be.
    fn prepare(workspace: &Workspace) -> Result<Self> {
        if capture(Command::new("rustup").args(["run", "nightly", "rustc", "--version"])).is_err() {
            bail!("fuzzing needs the nightly compiler: `rustup toolchain install nightly --profile minimal`");
        }
        let driver = ensure_driver(&workspace.artifact("tools"))?;
        build_ebpf::run(workspace, &build_ebpf::Flags::default())?;
        let root = workspace.root().join("tests/fuzz");
        // The targets are built from the versions that the product is built from.
        fs::copy(workspace.root().join("Cargo.lock"), root.join("Cargo.lock"))
            .context("copy Cargo.lock to tests/fuzz")?;
        Ok(Self { driver, root, home: workspace.artifact("fuzz") })
    }

    fn run(&self, target: &str, seconds: u64) -> Result<()> {
        let corpus = self.home.join("corpus").join(target);
        let artifacts = self.home.join("artifacts").join(target);
        for directory in [&corpus, &artifacts] {
            fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        }
        seeds::plant(target, &corpus)?;
        eprintln!("fuzz: {target} for {seconds} seconds");
        let mut driver = Command::new(&self.driver);
        driver
            .args(["fuzz", "run", "--fuzz-dir"])
            .arg(&self.root)
            .arg("--target-dir")
            .arg(self.home.join("build"))
            .arg(target)
            .arg(&corpus)
            .arg("--")
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={LONGEST_INPUT}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args(["-print_final_stats=1", "-timeout=10", "-rss_limit_mb=2048", "-verbosity=0"])
            .current_dir(&self.root)
            .env("RUSTUP_TOOLCHAIN", "nightly");
        // What the chore itself was started with belongs to another compiler.
        for variable in
            ["CARGO", "RUSTC", "RUSTDOC", "CARGO_TARGET_DIR", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"]
        {
            driver.env_remove(variable);
        }
        process::run(&mut driver)
            .with_context(|| format!("fuzz {target}; what it found is in {}", artifacts.display()))
    }
}

fn ensure_driver(tools: &Path) -> Result<PathBuf> {
    let driver = tools.join("bin/cargo-fuzz");
    if driver_is_pinned(&driver) {
        return Ok(driver);
    }
    if find_program("c++").is_none() {
        bail!(
            "a C++ compiler is missing (`c++`), libFuzzer is built with one; install it: `apt-get install g++`"
        );
    }
    eprintln!("fuzz: installing cargo-fuzz {DRIVER_VERSION} into {} (about a minute)", tools.display());
    let build = tools.join("cargo-fuzz-build");
    let mut install = cargo();
    install
        .args([
            "install",
            "cargo-fuzz",
            "--version",
            DRIVER_VERSION,
            "--locked",
            "--force",
            "--quiet",
            "--root",
        ])
        .arg(tools)
        .arg("--target-dir")
        .arg(&build)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    process::run(&mut install).with_context(|| format!("install cargo-fuzz {DRIVER_VERSION}"))?;
    if !driver_is_pinned(&driver) {
        bail!("{} was installed but does not report version {DRIVER_VERSION}", driver.display());
    }
    drop(fs::remove_dir_all(build));
    Ok(driver)
}

fn driver_is_pinned(driver: &Path) -> bool {
    capture(Command::new(driver).arg("--version"))
        .is_ok_and(|version| version.trim() == format!("cargo-fuzz {DRIVER_VERSION}"))
}
