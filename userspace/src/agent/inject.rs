//! `sidestep inject`: reads manifests, and prints them with the sidecar in their pods.

use std::io::{self, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::cli::InjectArgs;
use crate::config::{self, Config, ConfigError};
use crate::inject::{self, Settings};

/// Most bytes of one file of manifests.
const FILE_LIMIT: u64 = config::FILE_LIMIT;

/// Prints all documents, and says on standard error what became of each pod; whether none was refused.
///
/// # Errors
/// A file cannot be read, or is no YAML.
pub(super) fn print(args: &InjectArgs) -> Result<bool> {
    let mut settings = settings(args.config.as_deref())?;
    if let Some(image) = &args.image {
        settings.image.clone_from(image);
    }
    let mut output = io::stdout().lock();
    let mut good = true;
    for file in &args.files {
        let text = read(file)?;
        for (before, document) in config::documents(&text) {
            let injected = inject::inject(document, &args.namespace, &settings, &check)
                .map_err(anyhow::Error::msg)
                .with_context(|| format!("{}: document after line {before}", file.display()))?;
            for note in &injected.notes {
                eprintln!("sidestep: {note}");
                good = good && !note.is_refusal();
            }
            output.write_all(injected.text.as_bytes()).context("write the manifest")?;
        }
    }
    Ok(good)
}

/// What the sidecar is like: as the file says, or the defaults.
pub(super) fn settings(file: Option<&Path>) -> Result<Settings> {
    let settings = match file {
        None => Settings::default(),
        Some(file) => config::document::<Settings>(file)?.unwrap_or_default(),
    };
    inject::rehearse(&settings, &check).map_err(anyhow::Error::msg).with_context(|| match file {
        None => "the default settings".to_owned(),
        Some(file) => file.display().to_string(),
    })?;
    Ok(settings)
}

/// Whether a sidecar could be told that. What it says of files cannot be known before the pod is there.
pub(super) fn check(configuration: &str) -> Result<(), String> {
    match Config::parse(Path::new("the sidecar's configuration"), configuration) {
        Ok(_) | Err(ConfigError::Unreadable { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn read(file: &Path) -> Result<String> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        io::stdin().lock().take(FILE_LIMIT + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(FILE_LIMIT + 1).read_to_string(&mut text))
    };
    let length = read.with_context(|| format!("read {}", file.display()))?;
    if length as u64 > FILE_LIMIT {
        bail!("{}: expected at most {FILE_LIMIT} bytes, found more", file.display());
    }
    Ok(text)
}
