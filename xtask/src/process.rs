//! Running other programs: their output on our terminal or in our hands, a failure as one sentence.
//!
//! It never goes through a shell and never guesses a program's location beyond PATH.

mod stream;

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

pub(crate) use stream::{Ending, stream};

/// The cargo that runs us, so that a chore uses the toolchain that its caller chose.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The rustc that belongs to [`cargo`].
pub(crate) fn rustc() -> Command {
    Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// Runs `command` on our terminal and fails unless it exits with 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs `command` and returns what it wrote to stdout; its stderr becomes part of the error if it fails.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("start {}", shown(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {}", shown(command), output.status, stderr.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("read the output of {}", shown(command)))
}

/// Runs a cargo build on our terminal and returns the executables it says it made, by target name.
pub(crate) fn executables(build: &mut Command) -> Result<Vec<Executable>> {
    build.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = build.output().with_context(|| format!("start {}", shown(build)))?;
    if !output.status.success() {
        bail!("{} ended with {}", shown(build), output.status);
    }
    let messages = String::from_utf8(output.stdout).context("read cargo's messages")?;
    messages.lines().filter_map(|line| parse_artifact(line).transpose()).collect()
}

/// An executable that cargo built.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Executable {
    /// The name of the cargo target: `sidestep`, `sidestep-bpf`, `all`.
    pub(crate) target: String,
    /// Where cargo put it.
    pub(crate) path: PathBuf,
}

/// Reads one line of cargo's JSON messages; lines about anything but executables are `None`.
fn parse_artifact(line: &str) -> Result<Option<Executable>> {
    let message: serde_json::Value =
        serde_json::from_str(line).with_context(|| format!("read cargo's message {line:?}"))?;
    let executable = message["executable"].as_str();
    let target = message["target"]["name"].as_str();
    Ok(match (executable, target) {
        (Some(path), Some(target)) => Some(Executable { target: target.to_owned(), path: path.into() }),
        _ => None,
    })
}

/// The file of that name in PATH, or in the administrator's directories that a plain user's PATH leaves out.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// A command as a person would type it, without its environment.
pub(crate) fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_message_names_its_executable() {
        let line = r#"{"reason":"compiler-artifact","target":{"name":"all"},"executable":"/t/all-1"}"#;
        let expected = Executable { target: "all".to_owned(), path: "/t/all-1".into() };
        assert_eq!(parse_artifact(line).unwrap(), Some(expected));
    }

    #[test]
    fn messages_without_an_executable_are_passed_over() {
        let library = r#"{"reason":"compiler-artifact","target":{"name":"anyhow"},"executable":null}"#;
        let finished = r#"{"reason":"build-finished","success":true}"#;
        assert_eq!(parse_artifact(library).unwrap(), None);
        assert_eq!(parse_artifact(finished).unwrap(), None);
        assert!(parse_artifact("warning: not JSON").is_err());
    }

    #[test]
    fn a_program_that_cannot_start_is_named() {
        let error = run(&mut Command::new("/nonexistent/tool")).unwrap_err();
        assert_eq!(error.to_string(), "start /nonexistent/tool");
    }

    #[test]
    fn a_failing_program_hands_over_its_complaint() {
        let error = capture(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().ends_with("exit status: 3: no such thing"), "{error}");
    }
}
