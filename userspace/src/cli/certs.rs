//! `sidestep certs`: how the certificates of a running instance stand.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::Args;

use super::Form;

/// Where an instance answers if nothing else is said, as in the examples of the configuration.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15021);

const CERTS_EXAMPLES: &str = "\
Examples:
  sidestep certs
  sidestep certs --admin 10.0.0.9:15021 --json";

/// Arguments of `sidestep certs`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = CERTS_EXAMPLES)]
pub struct CertsArgs {
    /// Where the instance answers: admin.address of its configuration
    #[arg(long, value_name = "ADDR:PORT", default_value_t = ADMIN)]
    pub admin: SocketAddr,

    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

impl CertsArgs {
    /// How results are to be printed.
    #[must_use]
    pub const fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Table }
    }
}
