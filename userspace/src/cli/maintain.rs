//! `sidestep check` and `sidestep cleanup`: before the first start, and after an unclean end.

use clap::Args;

use crate::config::WorkloadName;

/// Arguments of `sidestep check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Table,
    /// For programs.
    Json,
}

impl CheckArgs {
    /// How results are to be printed.
    #[must_use]
    pub const fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Table }
    }
}

const CLEANUP_EXAMPLES: &str = "\
Examples:
  sidestep cleanup --dry-run
  sidestep cleanup web";

/// Arguments of `sidestep cleanup`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = CLEANUP_EXAMPLES)]
pub struct CleanupArgs {
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,

    /// Only this workload; all of them without it
    #[arg(value_name = "WORKLOAD")]
    pub workload: Option<WorkloadName>,
}

/// How far a cleanup goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Removes what it finds.
    Remove,
    /// Says what it finds.
    Show,
}

impl CleanupArgs {
    /// How far to go.
    #[must_use]
    pub const fn doing(&self) -> Doing {
        if self.dry_run { Doing::Show } else { Doing::Remove }
    }
}
