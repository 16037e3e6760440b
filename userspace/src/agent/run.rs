//! `sidestep run`: one command in a cgroup of its own, captured for as long as it lives.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, ExitStatus};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::agent::check::preflight;
use crate::agent::host::Host;
use crate::agent::register::Serves;
use crate::agent::scope::{RunCgroups, Scope};
use crate::agent::serving::Serving;
use crate::cli::{CommandLine, RunArgs};
use crate::config::{Config, watch};
use crate::sys::descriptors::{self, Inherited};
use crate::sys::ready::watched;
use crate::sys::spawn;

/// Signals that are handed on to the command. SIGINT, SIGQUIT and SIGHUP are, unless the terminal has sent them: then
/// the command has got them already.
const FORWARDED: [Signal; 6] =
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2];

/// `si_code` of a signal that the kernel itself has sent, as it does for the keys of a terminal (signal.h).
const SI_KERNEL: i32 = 0x80;

/// Blocks the forwarded signals in this thread and all that it starts from now on. Has to come before the runtime.
///
/// # Errors
/// Those of pthread_sigmask(3).
pub(super) fn block_signals() -> Result<SigSet> {
    let signals: SigSet = FORWARDED.into_iter().collect();
    signals.thread_block().context("block the signals that are handed on")?;
    Ok(signals)
}

/// Runs the command; returns its exit status as a shell would give it.
///
/// # Errors
/// If it cannot be captured or started; then nothing stays behind.
pub(super) async fn run(args: RunArgs, signals: SigSet) -> Result<u8> {
    let (file, changes) = match &args.config {
        Some(file) => watch(file).map(|(config, changes)| (config, Some(changes)))?,
        None => (Config::default(), None),
    };
    let (config, command) = args.clone().into_plan(file)?;
    preflight(config.capture.mode)?;
    let descriptors = descriptors::raise().context("raise the limit on open descriptors")?;
    let cgroups = RunCgroups::make(&config)?;
    let status = async {
        let mut serving = Serving::start(config, Scope::Run(&cgroups), Host::start(Serves::Command)?).await?;
        if let Some(changes) = changes {
            serving.follow(changes, Box::new(move |file| Ok(args.configure(file)?)));
        }
        let status = execute(&command, signals, descriptors, &cgroups).await;
        // What the command left running has lost its proxy: it ends too, and its last bytes are carried to their end.
        let emptied = cgroups.empty();
        let stopped = serving.drain_and_stop().await;
        status.and_then(|status| emptied.and(stopped).map(|()| status))
    }
    .await;
    let removed = cgroups.remove();
    let status = status?;
    removed?;
    Ok(exit_code(status, &command))
}

/// How the command ended, or why it never began.
enum Outcome {
    Ended(ExitStatus),
    NotStarted(io::Error),
}

async fn execute(
    command: &CommandLine,
    signals: SigSet,
    descriptors: Inherited,
    cgroups: &RunCgroups,
) -> Result<Outcome> {
    let mut child = process::Command::new(&command.program);
    child.args(&command.arguments);
    spawn::inside(&cgroups.workload, descriptors, &mut child).context("enter the command's cgroup")?;
    let mut child = match Command::from(child).spawn() {
        Ok(child) => child,
        Err(error) => return Ok(Outcome::NotStarted(error)),
    };
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .context("receive signals")?;
    let mut signals = watched(signals)?;
    loop {
        tokio::select! {
            status = child.wait() => return status.map(Outcome::Ended).context("wait for the command"),
            ready = signals.readable_mut() => {
                let mut ready = ready.context("wait for signals")?;
                while let Ok(Some(signal)) = ready.get_inner().read_signal() {
                    hand_on(&signal, &child);
                }
                ready.clear_ready();
            }
        }
    }
}

fn hand_on(signal: &siginfo, child: &Child) {
    let from_terminal = signal.ssi_code == SI_KERNEL;
    let known = i32::try_from(signal.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    if let (false, Some(signal), Some(pid)) = (from_terminal, known, pid) {
        // It may have ended in this moment.
        let _gone = kill(Pid::from_raw(pid), signal);
    }
}

/// As a shell gives it: the command's own, 128 and the signal that ended it, 127 for a command that is not there, 126 for
/// one that cannot be executed.
fn exit_code(outcome: Outcome, command: &CommandLine) -> u8 {
    let code = match outcome {
        Outcome::Ended(status) => status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
        Outcome::NotStarted(error) => {
            eprintln!("sidestep: cannot run {}: {error}", command.program.to_string_lossy());
            if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
        }
    };
    u8::try_from(code & 0xff).unwrap_or(u8::MAX)
}
