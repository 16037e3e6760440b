//! `sidestep run`: one command, captured.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::Overrides;
use crate::config::{Config, ConfigError, InboundPorts};

const EXAMPLES: &str = "\
Examples:
  See every connection that a program makes:
    sidestep run --access-log - -- curl -s http://example.com/
  Keep a program away from a database, and metadata requests away from the proxy:
    sidestep run --deny 10.0.0.0/8:5432 --direct 169.254.169.254 -- ./server
  Allow one network and nothing else:
    sidestep run --default deny --proxy 192.0.2.0/24 --direct 192.0.2.53:53 -- ./job
  Compare with iptables, in a network namespace of your own:
    sidestep run --capture iptables -- ./server

Flags stand in front of the file: rules are added to those of the file, and all else replaces what
the file says. Inbound connections are never captured by `run`. Signals are forwarded, and the exit
status is that of the command.";

/// Arguments of `sidestep run`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct RunArgs {
    /// Configuration file; it is watched, and changes of rules and timeouts take effect at once
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Settings that stand in front of the file.
    #[command(flatten)]
    pub overrides: Overrides,

    /// The command and its arguments
    #[arg(last = true, required = true, num_args = 1.., value_name = "CMD")]
    command: Vec<OsString>,
}

/// A program and its arguments, as given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// Path, or name to look for in `PATH`.
    pub program: OsString,
    /// Without the program's own name.
    pub arguments: Vec<OsString>,
}

impl RunArgs {
    /// What to run and how; `file` is what [`Self::config`] says, or the default where it is absent.
    ///
    /// # Errors
    ///
    /// Flags, or flags and file together, contradict each other.
    pub fn into_plan(self, file: Config) -> Result<(Config, CommandLine), ConfigError> {
        let config = self.configure(file)?;
        let mut words = self.command.into_iter();
        let Some(program) = words.next() else {
            // Not from the command line, where the parser asks for one word at least.
            let message = "expected a command, found none".to_owned();
            return Err(ConfigError::Flags { flags: "CMD".to_owned(), message });
        };
        Ok((config, CommandLine { program, arguments: words.collect() }))
    }

    /// The configuration of the file as the flags change it: for the start, and for every change of the file.
    ///
    /// # Errors
    ///
    /// Flags, or flags and file together, contradict each other.
    pub fn configure(&self, file: Config) -> Result<Config, ConfigError> {
        let mut config = self.overrides.apply(file)?;
        config.set_inbound_ports(InboundPorts::none());
        Ok(config)
    }
}
