//! `sidestep explain` and `sidestep connections`: what would be decided, and what was.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgGroup, Args};
use http::{HeaderName, HeaderValue};

use super::Form;
use crate::model::Identity;

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  What becomes of a request of shop/web to port 8080 of the workload that this file is for:
    sidestep explain --config sidestep.yaml --from shop/web --from 10.0.0.7 --to :8080 --method GET --path /
  What becomes of a connection that the workload makes:
    sidestep explain --config sidestep.yaml --to 10.96.0.10:5432
  What was decided of a connection that is open:
    sidestep connections --workload web
    sidestep explain --workload web --connection 17";

/// Arguments of `sidestep explain`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXPLAIN_EXAMPLES, group = ArgGroup::new("what").args(["to", "connection"]).required(true))]
pub struct ExplainArgs {
    /// Configuration file of the workload
    #[arg(long, value_name = "FILE", required_unless_present = "connection", conflicts_with = "connection")]
    pub config: Option<PathBuf>,

    /// Who calls the workload: an identity, an address, or both
    ///
    /// A SPIFFE ID or NAMESPACE/SERVICE-ACCOUNT comes through the tunnel; without one it is plain text. Without `--from` it
    /// is the workload that calls.
    #[arg(long, value_name = "WHO", conflicts_with = "connection")]
    pub from: Vec<Who>,

    /// Where to: an address and a port, a hostname of `services` and a port, or with `--from` only :PORT
    #[arg(long, value_name = "ADDR:PORT")]
    pub to: Option<Destination>,

    /// The method of a request
    #[arg(long, value_name = "METHOD", requires = "from")]
    pub method: Option<String>,

    /// The path of a request
    #[arg(long, value_name = "PATH", requires = "from")]
    pub path: Option<String>,

    /// The host that a request is for
    #[arg(long, value_name = "HOST", requires = "from")]
    pub host: Option<String>,

    /// A header of a request
    #[arg(long, value_name = "NAME:VALUE", requires = "from")]
    pub header: Vec<Header>,

    /// The number of an open connection, as in the access log
    #[arg(long, value_name = "ID")]
    pub connection: Option<u64>,

    /// Which instance, and how to print.
    #[command(flatten)]
    pub running: RunningArgs,
}

/// Which running instance, and how its answer is printed.
#[derive(Args, Clone, Debug)]
pub struct RunningArgs {
    /// The running instance of this workload; needed where there are several
    ///
    /// NAMESPACE/POD for a pod that a node's agent serves.
    #[arg(long, value_name = "NAME", value_parser = workload)]
    workload: Option<String>,

    /// Print JSON instead of words
    #[arg(long)]
    json: bool,
}

/// What a workload can be called: a name, or a pod with its namespace.
pub(super) fn workload(text: &str) -> Result<String, String> {
    let plain = |character: char| matches!(character, 'a'..='z' | '0'..='9' | '-' | '.' | '/');
    if text.is_empty() || !text.chars().all(plain) {
        return Err(format!("expected a name of a-z, 0-9, - and ., or NAMESPACE/POD, found {text:?}"));
    }
    Ok(text.to_owned())
}

/// Arguments of `sidestep connections`.
#[derive(Args, Clone, Debug)]
pub struct ConnectionsArgs {
    /// Go on with a line for each connection that opens or ends
    #[arg(long)]
    pub follow: bool,

    /// Which instance, and how to print.
    #[command(flatten)]
    pub running: RunningArgs,
}

impl RunningArgs {
    /// The workload that is named.
    #[must_use]
    pub fn workload(&self) -> Option<&str> {
        self.workload.as_deref()
    }

    /// How results are to be printed.
    #[must_use]
    pub const fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Table }
    }
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// This identity.
    Identity(Identity),
    /// The service account of a namespace, of our own trust domain.
    Account(String, String),
    /// Somebody at this address.
    Address(IpAddr),
}

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("spiffe://") {
            return text.parse().map(Self::Identity).map_err(|error| format!("{error}"));
        }
        let address = text.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
        if let Some(address) = address {
            return Ok(Self::Address(address));
        }
        match text.split_once('/') {
            Some((namespace, account)) if !namespace.is_empty() && !account.is_empty() => {
                Ok(Self::Account(namespace.to_owned(), account.to_owned()))
            }
            _ => Err(format!(
                "expected a SPIFFE ID, NAMESPACE/SERVICE-ACCOUNT or an IP address, found {text:?}"
            )),
        }
    }
}

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// This address.
    Address(SocketAddr),
    /// A port of the workload.
    Port(u16),
    /// A port of a service.
    Service(String, u16),
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        match parts {
            Some(("", port)) => Ok(Self::Port(port)),
            Some((host, port)) if !host.contains(':') => Ok(Self::Service(host.to_owned(), port)),
            _ => Err(format!("expected ADDRESS:PORT, HOSTNAME:PORT or :PORT, found {text:?}")),
        }
    }
}

/// One header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header(pub HeaderName, pub HeaderValue);

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text
            .split_once(':')
            .and_then(|(name, value)| Some(Self(name.trim().parse().ok()?, value.trim().parse().ok()?)));
        parts.ok_or_else(|| format!("expected NAME:VALUE, found {text:?}"))
    }
}
