//! `sidestep connections`, and `sidestep explain` of one that is open: asks a running instance at its Unix socket.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::admin::local::{DIRECTORY, EXTENSION};
use crate::cli::{Form, RunningArgs};
use crate::config::WorkloadName;

/// How long an instance may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an answer.
const LARGEST: u64 = 256 << 20;

/// Prints every connection of an instance.
///
/// # Errors
/// There is no such instance, or several, or it does not answer.
pub(super) fn list(args: &RunningArgs) -> Result<()> {
    let told = ask(args.workload.as_ref())?;
    match args.form() {
        Form::Json => println!("{told}"),
        Form::Table => print!("{}", table(connections(&told))),
    }
    Ok(())
}

/// Prints what is known of one connection, and the certificate that is shown for it.
///
/// # Errors
/// As for [`list`], or there is no such connection.
pub(super) fn explain(id: u64, args: &RunningArgs) -> Result<()> {
    let told = ask(args.workload.as_ref())?;
    let found = connections(&told).iter().find(|connection| connection["connection"] == id);
    let mut found = found
        .with_context(|| {
            format!("expected an open connection, found none of the number {id}; it may have ended")
        })?
        .clone();
    found["workload"] = told["workload"].clone();
    let certificate = &told["certificate"];
    if !certificate.is_null() {
        let known = ["identity", "issuer", "serial", "not_before", "not_after"];
        found["certificate"] =
            known.into_iter().map(|name| (name.to_owned(), certificate[name].clone())).collect();
    }
    match args.form() {
        Form::Json => println!("{found}"),
        Form::Table => print!("{}", facts(&found)),
    }
    Ok(())
}

fn connections(told: &Value) -> &[Value] {
    told["connections"].as_array().map_or(&[], Vec::as_slice)
}

fn ask(workload: Option<&WorkloadName>) -> Result<Value> {
    let path = find(Path::new(DIRECTORY), workload)?;
    let instance = || format!("ask the instance at {}", path.display());
    let stream = UnixStream::connect(&path).with_context(instance)?;
    stream.set_read_timeout(Some(PATIENCE)).with_context(instance)?;
    let mut text = String::new();
    stream.take(LARGEST).read_to_string(&mut text).with_context(instance)?;
    serde_json::from_str(&text)
        .with_context(|| format!("read the answer of the instance at {}", path.display()))
}

/// The socket of the one instance that is meant.
fn find(directory: &Path, workload: Option<&WorkloadName>) -> Result<PathBuf> {
    let mut sockets = sockets(directory);
    sockets.retain(|(name, _)| workload.is_none_or(|workload| is_of(name, workload)));
    match &mut sockets[..] {
        [(_, path)] => Ok(std::mem::take(path)),
        [] => bail!("expected a running instance of this user in {}, found none", directory.display()),
        several => {
            let names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
            bail!("expected one running instance, found {}; name one with --workload", names.join(", "))
        }
    }
}

/// The sockets in a directory, with the names of their instances.
pub(super) fn sockets(directory: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<(String, PathBuf)> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension() == Some(OsStr::new(EXTENSION)))
        .filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path)))
        .collect();
    found.sort_unstable();
    found
}

/// Whether a socket is of a workload: it has its name, perhaps with the number of its cgroup.
pub(super) fn is_of(name: &str, workload: &WorkloadName) -> bool {
    let number = name.strip_prefix(workload.as_str()).map(|rest| rest.strip_prefix('-').unwrap_or(rest));
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// One line for each connection.
fn table(connections: &[Value]) -> String {
    const COLUMNS: [(&str, usize); 7] = [
        ("connection", 10),
        ("direction", 9),
        ("client", 21),
        ("original", 21),
        ("tier", 6),
        ("source_identity", 42),
        ("policy", 0),
    ];
    let mut lines = String::new();
    let mut line = |cell: &dyn Fn(&str) -> String| {
        let cells: Vec<String> =
            COLUMNS.iter().map(|&(name, width)| format!("{:<width$}", cell(name))).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{}", cells.join("  ").trim_end());
    };
    line(&|name| name.to_uppercase().replace('_', " "));
    for connection in connections {
        line(&|name| shown(connection.get(name).unwrap_or(&json!("-"))));
    }
    lines
}

/// One line for each fact.
fn facts(connection: &Value) -> String {
    let mut lines = String::new();
    let empty = serde_json::Map::new();
    for (name, value) in connection.as_object().unwrap_or(&empty) {
        let value = match value.as_object() {
            Some(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{name} {}", shown(value))).collect();
                fields.join(", ")
            }
            None => shown(value),
        };
        let _ = writeln!(lines, "{:<22}{value}", name.replace('_', " "));
    }
    lines
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_instance_that_is_meant_is_found() {
        let directory = tempfile::tempdir().expect("a directory");
        let named = |name: &str| find(directory.path(), Some(&name.parse().expect("a name")));
        assert!(find(directory.path(), None).is_err());
        for name in ["web-12.sock", "web-a-7.sock", "run-99.sock", ".new", "other"] {
            fs::write(directory.path().join(name), "").expect("written");
        }
        assert_eq!(named("web").expect("one"), directory.path().join("web-12.sock"));
        assert_eq!(named("run-99").expect("one"), directory.path().join("run-99.sock"));
        let error = find(directory.path(), None).expect_err("there are three").to_string();
        assert!(error.contains("run-99, web-12, web-a-7; name one with --workload"), "{error}");
    }

    #[test]
    fn what_is_known_of_a_connection_is_printed_for_people() {
        let known = json!({ "connection": 7, "client": "10.0.0.7:1", "policy": "shop/near[0]", "certificate": { "serial": "1" } });
        assert!(table(std::slice::from_ref(&known)).ends_with("shop/near[0]\n"));
        assert!(facts(&known).contains("policy                shop/near[0]\n"));
        assert!(facts(&known).contains("certificate           serial 1\n"));
    }
}
