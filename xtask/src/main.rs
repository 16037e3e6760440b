//! The one door to every chore of the project: `cargo xtask <verb>`.
//!
//! Nothing happens here but the reading of the command line: each chore is a file of its own, and CI runs the
//! same lines that a person runs.

mod bench;
mod build;
mod build_ebpf;
mod demo;
mod fuzz;
mod image;
mod kernels;
mod lab;
mod lint;
mod process;
mod setup;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use workspace::Workspace;

/// Every chore of the project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build the BPF object into target/ebpf, installing the pinned linker and rust-src if they are missing
    BuildEbpf(build_ebpf::Flags),
    /// Build the sidestep binary with the BPF object inside
    Build(build::Flags),
    /// Build the image of static binaries for one or more machines, with podman or docker
    Image(image::Flags),
    /// Fetch Debian's kernel and run a command on it in a virtual machine
    Kernels(kernels::Flags),
    /// Show two workloads with real nginx and curl, and check every claim on the way (as root)
    Demo(demo::Flags),
    /// Measure what capture costs against no capture and against iptables (as root)
    Bench(bench::Flags),
    /// Feed random bytes to everything that reads the bytes of strangers (with the nightly compiler)
    Fuzz(fuzz::Flags),
    /// Check format, warnings, documentation and the house rules
    Lint,
    /// Install the servers, clients and tools that the tests and the demo call (as root, from Debian and PyPI)
    Setup,
    /// Play an app's part inside a workload
    #[command(hide = true)]
    Peer(lab::peer::Flags),
    /// Run the tests, ring by ring, and check that they leave nothing behind
    Test(test::Flags),
}

fn main() -> ExitCode {
    perform(CommandLine::parse().verb).unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

fn perform(verb: Verb) -> Result<ExitCode> {
    let workspace = Workspace::locate()?;
    match verb {
        Verb::BuildEbpf(flags) => build_ebpf::run(&workspace, &flags).map(drop)?,
        Verb::Build(flags) => build::run(&workspace, &flags)?,
        Verb::Image(flags) => image::run(&workspace, &flags)?,
        Verb::Demo(flags) => demo::run(&workspace, &flags)?,
        Verb::Bench(flags) => bench::run(&workspace, &flags)?,
        Verb::Fuzz(flags) => fuzz::run(&workspace, &flags)?,
        Verb::Peer(flags) => lab::peer::play(flags)?,
        Verb::Kernels(flags) => kernels::run(&workspace, flags)?,
        Verb::Lint => lint::check(&workspace)?,
        Verb::Setup => setup::run(&workspace)?,
        Verb::Test(flags) => return test::run(&workspace, &flags),
    }
    Ok(ExitCode::SUCCESS)
}
