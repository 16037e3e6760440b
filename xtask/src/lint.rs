//! `lint`: everything that can be said about the code without running it.
//!
//! All steps run even when one fails, so one run shows everything. Nothing is changed: `cargo fmt` and
//! `cargo clippy --fix` are one command away.

mod house;

use anyhow::{Context, Result, bail};

use crate::build_ebpf::{self, Toolchain, ensure_component};
use crate::process::{capture, cargo, run};
use crate::workspace::Workspace;

/// The crate that only the BPF target can build.
const NOT_FOR_THE_HOST: [&str; 3] = ["--workspace", "--exclude", "sidestep-ebpf"];

/// One way of looking at the code.
type Step = (&'static str, fn(&Workspace) -> Result<()>);

const STEPS: [Step; 5] = [
    ("house rules", house::check),
    ("format", format),
    ("clippy", clippy),
    ("clippy for the kernel side", clippy_ebpf),
    ("documentation", documentation),
];

/// Runs every step and fails if any of them did, naming it.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    ensure_tool("fmt", "rustfmt")?;
    ensure_tool("clippy", "clippy")?;
    // The binary that clippy looks at embeds the object.
    build_ebpf::run(workspace, &build_ebpf::Flags::default())?;
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        eprintln!("lint: {name}");
        if let Err(error) = step(workspace) {
            eprintln!("lint: {name}: {error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("lint failed: {}", failed.join(", "));
    }
    println!("lint: clean");
    Ok(())
}

fn ensure_tool(verb: &str, component: &str) -> Result<()> {
    if capture(cargo().args([verb, "--version"])).is_ok() {
        return Ok(());
    }
    eprintln!("lint: installing the rustup component {component}");
    ensure_component(component)
}

fn format(workspace: &Workspace) -> Result<()> {
    run(cargo().current_dir(workspace.root()).args(["fmt", "--all", "--check"]))
}

fn clippy(workspace: &Workspace) -> Result<()> {
    let mut clippy = cargo();
    clippy.current_dir(workspace.root()).args(["clippy", "--quiet"]).args(NOT_FOR_THE_HOST);
    run(clippy.args(["--all-targets", "--", "-D", "warnings"]))
}

fn clippy_ebpf(workspace: &Workspace) -> Result<()> {
    let toolchain = Toolchain::prepare(workspace)?;
    for features in [&[][..], &["--features", "trace"][..]] {
        let mut clippy = toolchain.cargo(workspace, "clippy");
        clippy.args(["--quiet", "--release", "--bin", "sidestep-bpf"]).args(features);
        run(clippy.args(["--", "-D", "warnings"])).context("the kernel side has warnings")?;
    }
    Ok(())
}

fn documentation(workspace: &Workspace) -> Result<()> {
    let mut doc = cargo();
    doc.current_dir(workspace.root()).args(["doc", "--quiet", "--no-deps", "--document-private-items"]);
    run(doc.args(NOT_FOR_THE_HOST).env("RUSTDOCFLAGS", "-D warnings"))
}
