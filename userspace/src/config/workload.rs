//! Names of workloads: short and plain enough for file names, labels and map names.

use std::fmt;
use std::io;
use std::str::FromStr;

use thiserror::Error;

/// What a workload is called: 1 to 40 of `a-z`, `0-9` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadName(String);

/// Characters that a name may have.
const LIMIT: usize = 40;

impl WorkloadName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name as close to `text` as the rules allow.
    #[must_use]
    pub fn resembling(text: &str) -> Self {
        let plain = |character: char| if is_plain(character) { character } else { '-' };
        let name: String = text.to_lowercase().chars().map(plain).take(LIMIT).collect();
        let name = name.trim_matches('-');
        Self(if name.is_empty() { "workload".to_owned() } else { name.to_owned() })
    }

    /// A name as close as the rules allow to that of the host; in a pod that is the pod's name.
    ///
    /// # Errors
    ///
    /// `/proc` is not there or cannot be read.
    pub fn of_host() -> io::Result<Self> {
        // Of the uts namespace of the caller, as the system call would be.
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
        Ok(Self::resembling(host.trim()))
    }
}

/// Whether a name may have this character.
const fn is_plain(character: char) -> bool {
    matches!(character, 'a'..='z' | '0'..='9' | '-')
}

impl fmt::Display for WorkloadName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Why a text is not a workload's name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected a name of 1 to {LIMIT} characters a-z, 0-9 and -, found {0:?}")]
pub struct WorkloadNameError(String);

impl FromStr for WorkloadName {
    type Err = WorkloadNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = (1..=LIMIT).contains(&text.len()) && text.chars().all(is_plain);
        if good { Ok(Self(text.to_owned())) } else { Err(WorkloadNameError(text.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_short() {
        for good in ["web", "a", "web-1", &"x".repeat(40)] {
            assert_eq!(good.parse::<WorkloadName>().expect("a name").as_str(), good);
        }
        for bad in ["", "Web", "web_1", "../web", "web.1", &"x".repeat(41)] {
            assert_eq!(bad.parse::<WorkloadName>(), Err(WorkloadNameError(bad.to_owned())));
        }
    }

    #[test]
    fn any_host_name_resembles_a_good_name() {
        for (host, name) in [
            ("Web.Example", "web-example"),
            ("", "workload"),
            ("__", "workload"),
            (&"Ä".repeat(50), "workload"),
        ] {
            assert_eq!(WorkloadName::resembling(host).as_str(), name);
        }
        assert!(WorkloadName::of_host().expect("a host name").as_str().parse::<WorkloadName>().is_ok());
    }
}
