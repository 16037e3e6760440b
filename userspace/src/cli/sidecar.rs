//! `sidestep sidecar`: the pod that it runs in.

use std::path::PathBuf;

use clap::Args;
use sidestep_abi::settings::OnFailure;

use super::choice::choice;
use crate::config::Config;

const EXAMPLES: &str = "\
Examples:
  sidestep sidecar --config /etc/sidestep/sidestep.yaml
  sidestep sidecar --config /etc/sidestep/sidestep.yaml --on-failure open

SIGTERM drains: readiness turns to 503, connections have relay.drain-timeout to end, then the capture is removed.";

/// Arguments of `sidestep sidecar`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct SidecarArgs {
    /// Configuration file; it is watched, and changes of rules, inbound ports and timeouts take effect at once
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,

    /// What happens to connections while the proxy does not stand: refuse them, or let them pass uncaptured
    #[arg(long, value_name = "HOW", value_parser = choice::<OnFailure>())]
    pub on_failure: Option<OnFailure>,
}

impl SidecarArgs {
    /// The configuration of the file as the flags change it: for the start, and for every change of the file.
    #[must_use]
    pub fn configure(&self, file: Config) -> Config {
        let mut config = file;
        config.capture.on_failure = self.on_failure.unwrap_or(config.capture.on_failure);
        config
    }
}
