//! `sidestep ca`: makes an authority for development, and issues certificates by hand.

use std::time::SystemTime;

use anyhow::{Result, anyhow};
use jiff::Timestamp;

use crate::cli::{CaArgs, CaCommand, InitArgs, IssueArgs};
use crate::identity::Authority;

/// Does what was asked and says what was written.
///
/// # Errors
/// The authority is there already, is not one, or something cannot be written.
pub(super) fn perform(args: &CaArgs) -> Result<()> {
    match &args.command {
        CaCommand::Init(args) => init(args),
        CaCommand::Issue(args) => issue(args),
    }
}

fn init(args: &InitArgs) -> Result<()> {
    let validity = Authority::create(&args.directory, &args.trust_domain, args.lifetime, SystemTime::now())
        .map_err(|error| anyhow!(error))?;
    let (domain, directory) = (&args.trust_domain, args.directory.display());
    println!("made an authority for {domain} in {directory}, valid until {}", shown(validity.not_after));
    println!("whoever reads {directory}/tls.key can be anybody of {domain}");
    Ok(())
}

fn issue(args: &IssueArgs) -> Result<()> {
    let svid = Authority::read(&args.directory)
        .and_then(|authority| {
            authority.issue_into(&args.out, &args.identity, args.lifetime, SystemTime::now())
        })
        .map_err(|error| anyhow!(error))?;
    let (identity, out) = (&svid.leaf().identity, args.out.display());
    println!("issued {identity} into {out}, valid until {}", shown(svid.leaf().validity.not_after));
    Ok(())
}

fn shown(time: SystemTime) -> String {
    // Whole seconds, as certificates have them.
    Timestamp::try_from(time)
        .ok()
        .and_then(|time| Timestamp::from_second(time.as_second()).ok())
        .map_or_else(|| "the end of time".to_owned(), |time| time.to_string())
}
