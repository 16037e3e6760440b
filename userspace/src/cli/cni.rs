//! `sidestep cni`: what a container runtime calls under the name `sidestep-cni`.

use clap::Args;

const CNI_EXAMPLES: &str = "\
Examples:
  CNI_COMMAND=VERSION sidestep cni";

/// Arguments of `sidestep cni`: none, everything comes by environment and standard input.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = CNI_EXAMPLES)]
pub struct CniArgs {}
