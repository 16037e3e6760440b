//! Flags of `run` that stand in front of the file.

use std::path::PathBuf;

use clap::Args;
use sidestep_abi::settings::OnFailure;
use sidestep_abi::verdict::Verdict;

use super::choice::choice;
use crate::config::{AccessLogSettings, CaptureMode, Config, ConfigError, LogDestination};
use crate::policy::{PolicyError, Rule, Target};

/// Settings given as flags: each wins over the same setting of the file, rules are added to those of the file.
#[derive(Args, Clone, Debug, Default)]
pub struct Overrides {
    /// How to capture
    ///
    /// `ebpf` steers sockets with programs on the command's own cgroup; `iptables` puts REDIRECT rules into the
    /// network namespace, for comparison and for old kernels; `none` runs the command as it is.
    #[arg(long, value_name = "HOW", value_parser = choice::<CaptureMode>())]
    pub capture: Option<CaptureMode>,

    /// Log each connection at its end to a file, or to standard output for `-`
    #[arg(long, value_name = "FILE")]
    pub access_log: Option<PathBuf>,

    /// Refuse connections to these destinations; may be given again
    ///
    /// A target is CIDR[:port[-port]]: 10.0.0.0/8, 10.1.2.3:5432, 0.0.0.0/0:25, `[fd00::]/8:80-90`. Of all rules
    /// that match, the longest prefix wins, and on one prefix the narrower range of ports.
    #[arg(long, value_name = "TARGET")]
    pub deny: Vec<Target>,

    /// Leave connections to these destinations alone; may be given again
    #[arg(long, value_name = "TARGET")]
    pub direct: Vec<Target>,

    /// Steer connections to these destinations into the proxy; may be given again
    #[arg(long, value_name = "TARGET")]
    pub proxy: Vec<Target>,

    /// What happens to destinations that no rule matches
    #[arg(long, value_name = "VERDICT", value_parser = choice::<Verdict>())]
    pub default: Option<Verdict>,

    /// What happens to connections while the proxy does not stand: refuse them, or let them pass uncaptured
    #[arg(long, value_name = "HOW", value_parser = choice::<OnFailure>())]
    pub on_failure: Option<OnFailure>,
}

impl Overrides {
    /// The configuration of the file as these flags change it.
    ///
    /// # Errors
    ///
    /// A rule given as a flag contradicts another one, or there are too many rules.
    pub fn apply(&self, file: Config) -> Result<Config, ConfigError> {
        let mut config = file;
        let flags =
            [(Verdict::Deny, &self.deny), (Verdict::Direct, &self.direct), (Verdict::Proxy, &self.proxy)];
        let flags = flags
            .into_iter()
            .flat_map(|(verdict, targets)| targets.iter().map(move |target| (verdict, *target)));
        let flags: Vec<Rule> = flags.map(|(verdict, target)| Rule { verdict, target }).collect();
        let count = flags.len();
        let rules = &mut config.outbound.rules;
        rules.list.splice(0..0, flags);
        rules.default = self.default.unwrap_or(rules.default);
        if count > 0 {
            rules.compile().map_err(|error| bad_flags(&error, &rules.list[..count]))?;
        }
        config.capture.mode = self.capture.unwrap_or(config.capture.mode);
        config.capture.on_failure = self.on_failure.unwrap_or(config.capture.on_failure);
        if let Some(path) = &self.access_log {
            let destination = LogDestination::from(path.clone());
            config.access_log =
                Some(AccessLogSettings { destination, ..config.access_log.unwrap_or_default() });
        }
        Ok(config)
    }
}

/// Names the flags that made a set of rules unusable; `flags` are the rules that they stand for.
fn bad_flags(error: &PolicyError, flags: &[Rule]) -> ConfigError {
    let flag = |rule: &Rule| format!("--{} {}", rule.verdict.word(), rule.target);
    let mut message = error.to_string();
    let named = match error {
        PolicyError::Conflict { at, .. } => {
            let named: Vec<String> = at.iter().filter_map(|&index| flags.get(index)).map(flag).collect();
            if named.len() == 1 {
                message.push_str(" (the other is in the configuration file)");
            }
            named
        }
        PolicyError::TooManyPortRanges { at, .. } => flags.get(*at).map(flag).into_iter().collect(),
        PolicyError::TooManyPrefixes { .. } | PolicyError::TooManyPortTables { .. } => Vec::new(),
    };
    let flags = if named.is_empty() { "--deny, --direct, --proxy".to_owned() } else { named.join(", ") };
    ConfigError::Flags { flags, message }
}
