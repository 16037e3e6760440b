//! The only wiring: what each command does, joining rooms that do not know each other.
//!
//! # Layout
//! - `run`, `sidecar`, `node`, `foreign`, `check`, `cleanup`, `certs`, `ca`, `lint`, `explain`, `connections`, `status`, `top`, `inject`,
//!   `webhook`: one file per command
//! - `scope`: whom to serve, and where it lives
//! - `host`: what a process has once, however many workloads it serves
//! - `serving`: a workload being served, from start to drain
//! - `capture`, under it `ebpf` and `iptables`: how connections get to the instance
//! - `follower`: tasks that follow changes and are never cut off half way
//! - `listeners`: where they arrive
//! - `admission`, `identity`: who may connect to it, and who it proves to be
//! - `register`: the workloads that this process serves
//! - `local`: what they say of themselves to whoever runs them
//! - `asking`: how a command asks a process there
//! - `logging`: what a process logs on standard error
//! - `moment`: how far away a time is
//! - `observing`: what is told of it: access log, metrics, readiness, certificates

mod admission;
mod asking;
mod ca;
mod capture;
mod certs;
mod check;
mod cleanup;
mod connections;
mod ebpf;
mod edge;
mod explain;
mod follower;
mod foreign;
mod host;
mod identity;
mod inject;
mod iptables;
mod lint;
mod listeners;
mod local;
mod logging;
mod moment;
mod node;
mod observing;
mod refusals;
mod register;
mod run;
mod scope;
mod serving;
mod sidecar;
mod status;
mod top;
mod webhook;

use std::future::Future;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::runtime::Builder;

use crate::cli::{Cli, Command, EXIT_CONFIG, PolicyCommand};
use crate::cni;
use crate::config::ConfigError;
use crate::lasting;

/// Does what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    // A runtime gives a plugin no arguments, and reads its standard output.
    if std::env::args_os().next().is_some_and(|program| cni::plugin::is_called(&program)) {
        return cni::plugin::main();
    }
    lasting::count_all();
    let cli = Cli::parse();
    logging::begin(cli.log_filter());
    match perform(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sidestep: {error:#}");
            match error.downcast_ref::<ConfigError>() {
                Some(_) => ExitCode::from(EXIT_CONFIG),
                None => ExitCode::FAILURE,
            }
        }
    }
}

fn perform(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(args) => {
            // Before any thread exists, so that all of them leave these signals to the one that hands them on.
            let signals = run::block_signals()?;
            complete(run::run(args, signals)).map(ExitCode::from)
        }
        Command::Sidecar(args) => complete(sidecar::serve(args)).map(|()| ExitCode::SUCCESS),
        Command::Node(args) => complete(node::serve(args)).map(|()| ExitCode::SUCCESS),
        Command::Capture(args) => complete(foreign::steer(args)).map(|()| ExitCode::SUCCESS),
        Command::Check(args) => {
            let possible = check::report(args.form())?;
            Ok(if possible { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Cleanup(args) => cleanup::clean(&args).map(|()| ExitCode::SUCCESS),
        Command::Certs(args) => complete(certs::show(args)).map(|()| ExitCode::SUCCESS),
        Command::Ca(args) => ca::perform(&args).map(|()| ExitCode::SUCCESS),
        Command::Explain(args) => complete(explain::explain(args)).map(|()| ExitCode::SUCCESS),
        Command::Connections(args) => complete(connections::list(&args)).map(|()| ExitCode::SUCCESS),
        Command::Cni(_) => Ok(cni::plugin::main()),
        Command::Status(args) => complete(status::print(&args)).map(|()| ExitCode::SUCCESS),
        Command::Top(args) => complete(top::watch(args)).map(|()| ExitCode::SUCCESS),
        Command::Log(args) => complete(status::log(&args)).map(|()| ExitCode::SUCCESS),
        Command::Config(args) => complete(status::config(&args)).map(|()| ExitCode::SUCCESS),
        Command::Policy(args) => {
            let PolicyCommand::Lint(args) = &args.command;
            Ok(if lint::print(args)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Inject(args) => {
            Ok(if inject::print(&args)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Webhook(args) => complete(webhook::serve(args)).map(|()| ExitCode::SUCCESS),
    }
}

/// Runs a command to its end on this thread. Connections have threads of their own.
fn complete<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(command)
}
