//! `sidestep node`: all pods of a node.

use std::path::PathBuf;

use clap::Args;

const EXAMPLES: &str = "\
Examples:
  sidestep node --config /etc/sidestep/node.yaml

SIGTERM hands every pod to a successor or, once the DaemonSet is gone, lets go of all of them.";

/// Arguments of `sidestep node`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct NodeArgs {
    /// Configuration file; it is watched, and changes of the sections that hold for every pod take effect at once
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}
