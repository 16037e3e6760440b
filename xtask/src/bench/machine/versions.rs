//! Which versions were measured: each program is asked itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::find_program;
use crate::setup::envoy_binary;
use crate::workspace::Workspace;

/// The versions of whatever is there; what is not there has none.
pub(super) fn of_everything(workspace: &Workspace, sidestep: &Path) -> BTreeMap<&'static str, String> {
    let programs: [(&str, Option<PathBuf>, &str); 5] = [
        ("sidestep", Some(sidestep.to_owned()), "--version"),
        ("Envoy", envoy_binary(workspace), "--version"),
        ("HAProxy", find_program("haproxy"), "-v"),
        ("nginx", find_program("nginx"), "-v"),
        ("iptables", find_program("iptables"), "-V"),
    ];
    let version = |(name, program, flag): (_, Option<PathBuf>, &str)| Some((name, ask(&program?, flag)?));
    programs.into_iter().filter_map(version).collect()
}

/// Runs a program for its version, which some write to stderr.
fn ask(program: &Path, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).stdin(Stdio::null()).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    parse(&String::from_utf8_lossy(&said))
}

/// The first number with a dot in it, whatever stands before it: the program's name, a `v`, the hash of a build. What
/// follows in brackets belongs to it: iptables tells there which of the kernel's two kinds of tables it fills.
fn parse(said: &str) -> Option<String> {
    let line = said.lines().find(|line| !line.trim().is_empty())?;
    let mut words = line.split_whitespace().skip_while(|word| number(word).is_none());
    let version = number(words.next()?)?;
    Some(match words.next() {
        Some(kind) if kind.starts_with('(') && kind.ends_with(')') => format!("{version} {kind}"),
        _ => version.to_owned(),
    })
}

/// The part of a word that is a version: between slashes, after a `v`, and beginning with digits and a dot.
fn number(word: &str) -> Option<&str> {
    word.split('/').map(|part| part.trim_start_matches('v')).find(|part| {
        let (digits, rest) = part.split_at(part.find(|it: char| !it.is_ascii_digit()).unwrap_or(part.len()));
        !digits.is_empty() && rest.starts_with('.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(said: &str, expect: Option<&str>) {
        assert_eq!(parse(said).as_deref(), expect, "{said:?}");
    }

    #[test]
    fn a_version_is_found_in_whatever_a_program_says() {
        check("sidestep 0.1.0\n", Some("0.1.0"));
        let envoy = "\nenvoy  version: 0e3a1c5d/1.40.0/Clean/RELEASE/BoringSSL\n";
        check(envoy, Some("1.40.0"));
        let haproxy = "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\nStatus: fine\n";
        check(haproxy, Some("2.6.12-1+deb12u4"));
        check("nginx version: nginx/1.22.1\n", Some("1.22.1"));
        check("iptables v1.8.9 (nf_tables)\n", Some("1.8.9 (nf_tables)"));
        check("no idea\n", None);
        check("", None);
    }
}
