//! `sidestep webhook`: the same for the API server, over TLS.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

const EXAMPLES: &str = "\
Examples:
  sidestep webhook --config /etc/sidestep/inject.yaml --tls /run/secrets/sidestep/tls

SIGTERM turns readiness to 503, answers for a few seconds more, and ends.";

/// Arguments of `sidestep webhook`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct WebhookArgs {
    /// What the sidecar is like: image, resources, identity, and its own configuration
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Directory with tls.crt and tls.key, as a Secret is mounted; a change is taken over without a restart
    #[arg(long, value_name = "DIR")]
    pub tls: PathBuf,

    /// Where to listen: POST /inject, and GET /readyz and /livez
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,
}
