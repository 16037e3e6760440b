//! The system's iptables programs: argument lists and texts, never a shell.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{Child, Command, Output, Stdio};

use super::NetfilterError;
use super::family::Family;

/// Seconds to wait for the lock that iptables programs share.
const PATIENCE: &str = "--wait=10";

/// Where the programs are if not in `PATH`, which for ordinary users lacks these.
const DIRECTORIES: [&str; 3] = ["", "/usr/sbin/", "/sbin/"];

/// Applies a text in the format of `iptables-save`, leaving alone what it does not name.
pub(super) fn restore(family: Family, doing: &'static str, text: &str) -> Result<(), NetfilterError> {
    let program = family.restore_program();
    run(program, doing, &["--noflush", PATIENCE], text).map(drop)
}

/// Everything that is in the tables, in the format of `iptables-save`.
pub(super) fn save(family: Family) -> Result<String, NetfilterError> {
    let program = family.save_program();
    let mut saved = String::new();
    for table in ["nat", "filter"] {
        let output = run(program, "read the rules", &["-t", table], "")?;
        saved.push_str(&String::from_utf8_lossy(&output.stdout));
    }
    Ok(saved)
}

/// Runs a program to its end.
fn run(
    program: &'static str,
    doing: &'static str,
    arguments: &[&str],
    input: &str,
) -> Result<Output, NetfilterError> {
    let unrunnable = |cause| NetfilterError::Unrunnable { program, cause };
    let mut child = spawn(program, arguments)?;
    let fed = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(unrunnable)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let said = if lines.is_empty() { output.status.to_string() } else { lines.join(" ") };
        return Err(NetfilterError::Refused { program, doing, said });
    }
    fed.map_err(unrunnable)?;
    Ok(output)
}

/// Starts a program from `PATH` or one of the usual places.
fn spawn(program: &'static str, arguments: &[&str]) -> Result<Child, NetfilterError> {
    for directory in DIRECTORIES {
        let path = OsString::from(format!("{directory}{program}"));
        let child = Command::new(path)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        match child {
            Ok(child) => return Ok(child),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(NetfilterError::Unrunnable { program, cause }),
        }
    }
    Err(NetfilterError::Missing { program })
}
