//! `sidestep status`, `top`, `log` and `config`: what is asked of processes that run.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::explain::workload;
use super::{Form, log_filter};

/// Arguments of `sidestep status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// Only this workload: a name, or NAMESPACE/POD
    #[arg(long, value_name = "NAME", value_parser = workload)]
    pub workload: Option<String>,

    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

impl StatusArgs {
    /// How results are to be printed.
    #[must_use]
    pub const fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Table }
    }
}

const TOP_EXAMPLES: &str = "\
Examples:
  sidestep top
  sidestep top --sort p99 --interval 5s
  sidestep top --once --sort denied

Keys: o open, n connects, r requests, l latency, d denials, w name sort by that, and turn the order round when pressed again; arrows
and page keys scroll; space pauses; q ends.";

/// Arguments of `sidestep top`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = TOP_EXAMPLES)]
pub struct TopArgs {
    /// Only this workload: a name, or NAMESPACE/POD
    #[arg(long, value_name = "NAME", value_parser = workload)]
    pub workload: Option<String>,

    /// How often to look; rates are between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,

    /// What to sort by
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,

    /// Look twice, print one table as text, and end
    #[arg(long)]
    pub once: bool,
}

/// What rows are sorted by: the largest first, names from A to Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// Connections that are open
    #[default]
    Open,
    /// Connections that were opened per second
    Connects,
    /// Requests per second
    Requests,
    /// The time that all but one of a hundred requests kept within
    P99,
    /// Denials per second
    Denied,
    /// The name of the workload
    Name,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let range = Duration::from_millis(100)..=Duration::from_secs(3600);
    if !range.contains(&interval) {
        return Err(format!("expected 100ms to 1h, found {text}"));
    }
    Ok(interval)
}

/// Arguments of `sidestep log`.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// A level (error, warn, info, debug, trace, off), or levels by module; what is in force if absent
    #[arg(value_name = "LEVEL", value_parser = log_filter)]
    pub filter: Option<String>,

    /// The process that serves this workload; needed where there are several
    #[arg(long, value_name = "NAME", value_parser = workload)]
    pub workload: Option<String>,
}

/// Arguments of `sidestep config`.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// Only this workload; needed where there are several processes
    #[arg(long, value_name = "NAME", value_parser = workload)]
    pub workload: Option<String>,
}
