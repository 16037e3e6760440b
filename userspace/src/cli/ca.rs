//! `sidestep ca`: a certificate authority for development, and certificates by hand.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::model::{Identity, TrustDomain};

const MINUTE: Duration = Duration::from_secs(60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

const CA_EXAMPLES: &str = "\
Examples:
  sidestep ca init --directory ca --trust-domain cluster.local
  sidestep ca issue --directory ca --identity spiffe://cluster.local/ns/shop/sa/web --out web
  kubectl create secret generic sidestep-ca --from-file=ca";

/// Arguments of `sidestep ca`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = CA_EXAMPLES)]
pub struct CaArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: CaCommand,
}

/// What can be done with an authority.
#[derive(Clone, Debug, Subcommand)]
pub enum CaCommand {
    /// Make a certificate authority
    ///
    /// Writes tls.crt, tls.key and ca.crt, which `identity: { signing-ca: … }` reads. The key is for its owner only, and
    /// nothing is ever overwritten.
    Init(InitArgs),
    /// Issue a certificate with a new key
    ///
    /// Writes tls.crt, tls.key and ca.crt, which `identity: { files: … }` reads. All three change at once, so a
    /// running instance never sees one without the others.
    Issue(IssueArgs),
}

/// Arguments of `sidestep ca init`.
#[derive(Args, Clone, Debug)]
pub struct InitArgs {
    /// Where to write the authority; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub directory: PathBuf,

    /// The trust domain that it vouches for
    #[arg(long, value_name = "NAME")]
    pub trust_domain: TrustDomain,

    /// How long it is valid, such as 30days or 1year
    #[arg(long, value_name = "TIME", default_value = "3650days", value_parser = authority_lifetime)]
    pub lifetime: Duration,
}

/// Arguments of `sidestep ca issue`.
#[derive(Args, Clone, Debug)]
pub struct IssueArgs {
    /// Where the authority is: tls.crt and tls.key, and perhaps ca.crt
    #[arg(long, value_name = "DIR")]
    pub directory: PathBuf,

    /// Whom the certificate is for
    #[arg(long, value_name = "SPIFFE-ID")]
    pub identity: Identity,

    /// Where to write the certificate; made if it is not there, replaced if it is
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// How long it is valid, such as 90m or 7days; never longer than the authority
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = lifetime)]
    pub lifetime: Duration,
}

fn authority_lifetime(text: &str) -> Result<Duration, String> {
    within(text, 60 * MINUTE, 100 * YEAR, "1h to 100years")
}

fn lifetime(text: &str) -> Result<Duration, String> {
    within(text, MINUTE, 10 * YEAR, "1m to 10years")
}

fn within(text: &str, least: Duration, most: Duration, shown: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if (least..=most).contains(&time) => Ok(time),
        _ => Err(format!("expected a time of {shown}, such as 24h, found {text:?}")),
    }
}
