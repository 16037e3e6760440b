//! `sidestep sidecar`: serves the pod that it runs in until it is told to stop, or a successor takes over.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::agent::check::preflight;
use crate::agent::host::Host;
use crate::agent::register::Serves;
use crate::agent::scope::{Pod, Scope};
use crate::agent::serving::Serving;
use crate::cli::SidecarArgs;
use crate::config::{CaptureMode, watch};
use crate::sys::descriptors;

/// Serves until SIGTERM or SIGINT, then drains. SIGHUP reopens the access log.
///
/// # Errors
/// If it cannot capture; then nothing stays behind. If something stayed attached at the end.
pub(super) async fn serve(args: SidecarArgs) -> Result<()> {
    let mut stop = Stop::listen()?;
    let mut hang_up = signal(SignalKind::hangup()).context("receive SIGHUP")?;
    let (file, changes) = watch(&args.config)?;
    let config = args.configure(file);
    preflight(config.capture.mode)?;
    descriptors::raise().context("raise the limit on open descriptors")?;
    let scope = match (config.capture.mode, &config.capture.cgroup) {
        (CaptureMode::None, None) => Scope::Here,
        // One that is named is looked at in any mode: what is wrong with it is to be known before the mode changes.
        (CaptureMode::None, Some(_)) | (CaptureMode::Ebpf | CaptureMode::Iptables, _) => {
            Scope::Pod(Pod::find(&config)?)
        }
    };
    let mut serving = Serving::start(config, scope, Host::start(Serves::Pod)?).await?;
    serving.follow(changes, Box::new(move |file| Ok(args.configure(file))));
    serving.ready();
    loop {
        tokio::select! {
            () = stop.told() => break,
            _ = hang_up.recv() => serving.reopen_access_log(),
            () = serving.superseded() => {
                tracing::info!("a successor has taken over; draining");
                return serving.hand_over().await;
            }
        }
    }
    tracing::info!("told to stop; draining");
    serving.drain_and_stop().await
}

/// The signals that end a service.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(super) fn listen() -> Result<Self> {
        let on = |kind| signal(kind).context("receive signals");
        Ok(Self { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    /// Resolves when told to stop.
    pub(super) async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
