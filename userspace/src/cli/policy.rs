//! `sidestep policy`: looking at policies before they are in force.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Form;

const POLICY_EXAMPLES: &str = "\
Examples:
  sidestep policy lint policies/
  sidestep policy lint --json web.yaml db.yaml";

/// Arguments of `sidestep policy`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = POLICY_EXAMPLES)]
pub struct PolicyArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PolicyCommand,
}

/// What can be done with policies.
#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say what is wrong with policies, and what they probably do not mean
    ///
    /// Reads AuthorizationPolicy and PeerAuthentication from these files, and from the *.yaml, *.yml and *.json of these
    /// directories, and nothing else. Whatever would keep a configuration from being taken is an error, and so is
    /// what Istio knows and Sidestep does not. What can never match, or matches more than it seems to, is a warning.
    /// Exits with 1 if there are errors.
    Lint(LintArgs),
}

/// Arguments of `sidestep policy lint`.
#[derive(Args, Clone, Debug)]
pub struct LintArgs {
    /// Files and directories
    #[arg(value_name = "FILE|DIR", required = true)]
    pub paths: Vec<PathBuf>,

    /// Print one JSON object instead of lines
    #[arg(long)]
    json: bool,
}

impl LintArgs {
    /// How findings are to be printed.
    #[must_use]
    pub const fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Table }
    }
}
