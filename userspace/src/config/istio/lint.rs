//! Every policy of some files by itself: what is wrong with it, and what it probably does not mean.
//!
//! Knows no workload, so that what cannot be done here counts for every policy, whomever it is meant for.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_saphyr::Location;

use super::document::{Document, Policy};
use super::{Names, advice};
use crate::config::sources::Sources;
use crate::config::yaml::Part;
use crate::config::{ConfigError, Place};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The policy would be refused.
    Error,
    /// It would be taken.
    Warning,
}

/// What was found.
#[derive(Debug)]
pub struct Finding {
    /// How bad it is.
    pub weight: Weight,
    /// `namespace/name` of the policy, if that could be read.
    pub policy: Option<String>,
    /// What is wrong, and where.
    pub error: ConfigError,
}

/// All that was looked at.
#[derive(Debug, Default)]
pub struct Lint {
    /// How many policies there are.
    pub policies: usize,
    /// What was found, in the order of the files.
    pub findings: Vec<Finding>,
}

impl Lint {
    /// How many findings are of this weight.
    #[must_use]
    pub fn count(&self, weight: Weight) -> usize {
        self.findings.iter().filter(|finding| finding.weight == weight).count()
    }

    fn error(&mut self, policy: Option<&str>, error: ConfigError) {
        let policy = policy.map(ToOwned::to_owned);
        self.findings.push(Finding { weight: Weight::Error, policy, error });
    }

    fn read(&mut self, file: &Path, text: &str, names: &mut Names) {
        for part in Part::whole(file, text).documents() {
            match Document::read(part) {
                Ok(None) => {}
                Ok(Some(document)) => self.judge(document, part, names),
                Err(error) => self.error(None, error),
            }
        }
    }

    fn judge(&mut self, document: Document<'_>, part: Part<'_>, names: &mut Names) {
        self.policies += 1;
        let key = document.policy.key();
        let name = format!("{}/{}", key.namespace, key.name);
        let findings = document.findings;
        let whole = findings.invalid.is_empty() && findings.unsupported.is_empty();
        for error in findings.invalid.into_iter().chain(findings.unsupported) {
            self.error(Some(&name), error);
        }
        if let Err(error) = names.expect_new(key, part, document.at) {
            self.error(Some(&name), error);
        }
        // What is left of a policy that is none says nothing of what was meant.
        let Policy::Authorization(policy) = document.policy else { return };
        for advice in advice::of(&policy).into_iter().filter(|_| whole) {
            let rule = advice.rule.and_then(|rule| document.rules.get(rule)).copied();
            let at: Location = rule.unwrap_or(document.at);
            let error = part.invalid(at, advice.field, advice.message);
            self.findings.push(Finding { weight: Weight::Warning, policy: Some(name.clone()), error });
        }
    }
}

/// Looks at the policies in these files and directories, and at nothing else.
#[must_use]
pub fn lint(paths: &[PathBuf]) -> Lint {
    let (mut lint, mut names, mut sources) = (Lint::default(), Names::default(), Sources::default());
    for path in paths {
        let files = sources.files(path.clone()).unwrap_or_else(|error| {
            lint.error(None, error);
            Vec::new()
        });
        for file in files {
            match sources.read(&file) {
                Ok(text) => lint.read(&file, &text, &mut names),
                Err(error) => lint.error(None, error),
            }
        }
    }
    lint
}

impl Finding {
    /// The file that it is about.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match &self.error {
            ConfigError::Unreadable { file, .. }
            | ConfigError::TooLarge { file, .. }
            | ConfigError::Invalid { file, .. } => Some(file),
            ConfigError::Flags { .. } | ConfigError::Unwatchable { .. } => None,
        }
    }

    /// The place in it.
    #[must_use]
    pub const fn place(&self) -> Option<Place> {
        match &self.error {
            ConfigError::Invalid { place, .. } => *place,
            _ => None,
        }
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}
