//! `sidestep status`, `log` and `config`: asks running processes at their Unix sockets.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, bail};
use hyper::Method;
use jiff::Timestamp;
use serde_json::Value;

use crate::admin::local::DIRECTORY;
use crate::agent::asking::{self, Meant};
use crate::agent::moment;
use crate::cli::{ConfigArgs, Form, LogArgs, StatusArgs};

/// Prints what runs here and how it stands.
///
/// # Errors
/// Nothing runs here, nothing that serves that workload does, or something does not answer.
pub(super) async fn print(args: &StatusArgs) -> Result<()> {
    let mut told = Vec::new();
    let mut silent = Vec::new();
    for meant in everybody(args.workload.as_deref()).await? {
        match meant.json("/v1/status").await {
            Ok(status) => told.push(status),
            Err(error) => silent.push(error),
        }
    }
    match args.form() {
        Form::Json => println!("{}", Value::from(told)),
        Form::Table => told.iter().for_each(|status| print!("{}", table(status, Timestamp::now()))),
    }
    match silent.pop() {
        Some(error) => {
            Err(error.context("expected every process to answer; `sidestep cleanup` removes dead ones"))
        }
        None => Ok(()),
    }
}

/// Shows or changes what a process logs.
///
/// # Errors
/// There is no such process, or several, or it does not answer.
pub(super) async fn log(args: &LogArgs) -> Result<()> {
    let Meant { socket, .. } = asking::find(Path::new(DIRECTORY), args.workload.as_deref()).await?;
    let filter = match &args.filter {
        Some(filter) => socket.text(Method::PUT, "/v1/log", filter).await?,
        None => socket.text(Method::GET, "/v1/log", "").await?,
    };
    println!("{filter}");
    Ok(())
}

/// Shows the configuration that is in force.
///
/// # Errors
/// As for [`log`].
pub(super) async fn config(args: &ConfigArgs) -> Result<()> {
    let meant = asking::find(Path::new(DIRECTORY), args.workload.as_deref()).await?;
    println!("{:#}", meant.json("/v1/config").await?);
    Ok(())
}

/// Every process of this user, or the one that serves a workload.
///
/// # Errors
/// There is none.
pub(super) async fn everybody(workload: Option<&str>) -> Result<Vec<Meant>> {
    let directory = Path::new(DIRECTORY);
    if workload.is_some() {
        return Ok(vec![asking::find(directory, workload).await?]);
    }
    let all: Vec<Meant> =
        asking::alive(directory).into_iter().map(|socket| Meant { socket, workload: None }).collect();
    if all.is_empty() {
        bail!("expected a running instance of this user in {DIRECTORY}, found none");
    }
    Ok(all)
}

/// One line for the process, one for each workload.
fn table(status: &Value, now: Timestamp) -> String {
    let mut lines = format!(
        "sidestep {} {}, pid {}, {}, kernel {}, logs {}\n",
        text(&status["version"]),
        text(&status["form"]),
        text(&status["pid"]),
        away(&status["since"], now),
        text(&status["kernel"]),
        text(&status["log"]),
    );
    let workloads = status["workloads"].as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<[String; 7]> = workloads.iter().map(|workload| row(workload, now)).collect();
    let heads =
        ["WORKLOAD", "STATE", "SERVED", "OPEN", "TIERS", "DENIED", "CERTIFICATE ENDS"].map(str::to_owned);
    let width = |column: usize| {
        std::iter::once(&heads).chain(&rows).map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    for row in std::iter::once(&heads).chain(&rows) {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "  {}", line.trim_end());
    }
    lines
}

fn row(workload: &Value, now: Timestamp) -> [String; 7] {
    let open = &workload["open"];
    let open = open["outbound"].as_u64().unwrap_or(0) + open["inbound"].as_u64().unwrap_or(0);
    let empty = serde_json::Map::new();
    let tiers = workload["tiers"].as_object().unwrap_or(&empty);
    let tiers: Vec<String> = tiers
        .iter()
        .filter(|(_, count)| count.as_u64() != Some(0))
        .map(|(tier, count)| format!("{tier} {count}"))
        .collect();
    let certificate = &workload["certificate"];
    let certificate = match (&certificate["unavailable"], &certificate["not_after"]) {
        (Value::String(why), _) => format!("unavailable: {why}"),
        (_, Value::Null) => "none".to_owned(),
        (_, until) => away(until, now),
    };
    [
        text(&workload["workload"]),
        text(&workload["state"]),
        away(&workload["since"], now),
        open.to_string(),
        if tiers.is_empty() { "-".to_owned() } else { tiers.join(", ") },
        text(&workload["denied"]),
        certificate,
    ]
}

/// How far away a time is, if it is one.
fn away(time: &Value, now: Timestamp) -> String {
    let time = time.as_str().and_then(|time| time.parse().ok());
    time.map_or_else(|| "-".to_owned(), |time| moment::away(time, now))
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_names_the_process_and_all_whom_it_serves() {
        let now: Timestamp = "2027-01-15T08:00:00Z".parse().expect("a time");
        let status = json!({
            "version": "0.1.0", "form": "node", "pid": 42, "since": "2027-01-15T06:30:00Z", "kernel": "6.18",
            "log": "info",
            "workloads": [
                {
                    "workload": "shop/db-1", "state": "ready", "since": "2027-01-15T07:59:30Z", "denied": 3,
                    "open": { "outbound": 1, "inbound": 4 }, "tiers": { "relay": 2, "tunnel": 3, "http": 0 },
                    "certificate": { "not_after": "2027-01-16T07:59:00Z" },
                },
                { "workload": "shop/web-17", "state": "draining", "denied": 0, "certificate": { "unavailable": "list expired" } },
            ],
        });
        let expected = "\
sidestep 0.1.0 node, pid 42, 1h 30m ago, kernel 6.18, logs info
  WORKLOAD     STATE     SERVED   OPEN  TIERS              DENIED  CERTIFICATE ENDS
  shop/db-1    ready     30s ago  5     relay 2, tunnel 3  3       in 23h 59m
  shop/web-17  draining  -        0     -                  0       unavailable: list expired
";
        assert_eq!(table(&status, now), expected);
    }
}
