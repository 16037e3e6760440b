//! A kernel parameter of the whole machine that a measurement needs otherwise than it is, and that is put back.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A parameter that is as it is wanted as long as this lives.
#[derive(Debug)]
pub(crate) struct Setting {
    file: PathBuf,
    /// What it was, if it had to be changed.
    before: Option<String>,
}

impl Setting {
    /// Gives a parameter, named by its path below /proc/sys, at least this value.
    pub(crate) fn at_least(parameter: &str, value: u64) -> Result<Self> {
        Self::raise(Path::new("/proc/sys").join(parameter), value)
    }

    fn raise(file: PathBuf, value: u64) -> Result<Self> {
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let before = text.trim().to_owned();
        let number: u64 = before
            .parse()
            .with_context(|| format!("expected a number in {}, found {before:?}", file.display()))?;
        if number >= value {
            return Ok(Self { file, before: None });
        }
        fs::write(&file, value.to_string())
            .with_context(|| format!("write {value} to {}", file.display()))?;
        Ok(Self { file, before: Some(before) })
    }

    /// What the parameter was, if it had to be changed.
    pub(crate) fn before(&self) -> Option<&str> {
        self.before.as_deref()
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if let Some(before) = &self.before
            && let Err(error) = fs::write(&self.file, before)
        {
            eprintln!("bench: {} was {before} and could not be put back: {error}", self.file.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_put_back_to_what_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("parameter");
        fs::write(&file, "128\n").unwrap();
        let setting = Setting::raise(file.clone(), 1_024).unwrap();
        assert_eq!((fs::read_to_string(&file).unwrap().as_str(), setting.before()), ("1024", Some("128")));
        drop(setting);
        assert_eq!(fs::read_to_string(&file).unwrap(), "128");
    }

    #[test]
    fn a_parameter_that_will_do_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("parameter");
        fs::write(&file, "16384\n").unwrap();
        assert_eq!(Setting::raise(file.clone(), 1_024).unwrap().before(), None);
        assert_eq!(fs::read_to_string(&file).unwrap(), "16384\n");
    }
}
