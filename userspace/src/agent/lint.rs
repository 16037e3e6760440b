//! `sidestep policy lint`: what is wrong with policies, for people and for whoever checks them before they are merged.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::json;

use crate::cli::{Form, LintArgs};
use crate::config::{self, Finding, Lint, Weight};

/// Looks and prints; whether there was no error.
///
/// # Errors
/// The findings cannot be written as JSON, which they can.
pub(super) fn print(args: &LintArgs) -> Result<bool> {
    let found = config::lint(&args.paths);
    match args.form() {
        Form::Json => println!("{}", serde_json::to_string(&object(&found))?),
        Form::Table => print!("{}", lines(&found)),
    }
    Ok(found.count(Weight::Error) == 0)
}

/// One line for each finding, and one for all.
fn lines(found: &Lint) -> String {
    let mut lines = String::new();
    for Finding { weight, policy, error } in &found.findings {
        let of = policy.as_ref().map_or_else(String::new, |policy| format!(" ({policy})"));
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{weight}: {error}{of}");
    }
    let counted = |count: usize, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    };
    let _ = writeln!(
        lines,
        "{}, {}, {}",
        counted(found.policies, "policy", "policies"),
        counted(found.count(Weight::Error), "error", "errors"),
        counted(found.count(Weight::Warning), "warning", "warnings")
    );
    lines
}

fn object(found: &Lint) -> serde_json::Value {
    let findings = found.findings.iter().map(|finding| {
        json!({
            "severity": finding.weight.to_string(),
            "file": finding.file(),
            "line": finding.place().map(|place| place.line),
            "column": finding.place().map(|place| place.column),
            "policy": finding.policy,
            "message": finding.error.to_string(),
        })
    });
    json!({
        "policies": found.policies,
        "errors": found.count(Weight::Error),
        "warnings": found.count(Weight::Warning),
        "findings": findings.collect::<Vec<_>>(),
    })
}
