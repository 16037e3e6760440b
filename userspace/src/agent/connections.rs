//! `sidestep connections`, and `sidestep explain` of one that is open: asks a running process at its Unix socket.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context, Result};
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::{Value, json};

use crate::admin::local::DIRECTORY;
use crate::agent::asking::{self, Meant};
use crate::cli::{ConnectionsArgs, Form, RunningArgs};

/// Prints every connection that is open, and goes on with those that open and end if that is asked for.
///
/// # Errors
/// There is no such process, or several, or it does not answer.
pub(super) async fn list(args: &ConnectionsArgs) -> Result<()> {
    let meant = find(&args.running).await?;
    if args.follow {
        return follow(&meant, args.running.form()).await;
    }
    let told = meant.json("/v1/connections").await?;
    match args.running.form() {
        Form::Json => println!("{told}"),
        Form::Table => print!("{}", table(told["connections"].as_array().map_or(&[], Vec::as_slice))),
    }
    Ok(())
}

/// Prints what is known of one connection, and the certificate that is shown for it.
///
/// # Errors
/// As for [`list`], or there is no such connection.
pub(super) async fn explain(id: u64, args: &RunningArgs) -> Result<()> {
    let found = find(args).await?.json(&format!("/v1/explain?connection={id}")).await?;
    match args.form() {
        Form::Json => println!("{found}"),
        Form::Table => print!("{}", facts(&found)),
    }
    Ok(())
}

async fn find(args: &RunningArgs) -> Result<Meant> {
    asking::find(Path::new(DIRECTORY), args.workload()).await
}

/// Prints a line for each connection that opens or ends, until the process is gone or nobody reads.
async fn follow(meant: &Meant, form: Form) -> Result<()> {
    let question = meant.question("/v1/connections?follow");
    let response = meant.socket.ask(Method::GET, &question, "").await;
    let mut body = response.with_context(|| format!("ask at {}", meant.socket.path().display()))?.into_body();
    let mut rest = Vec::new();
    let mut out = io::stdout().lock();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { break };
        rest.extend_from_slice(&frame.into_data().unwrap_or_default());
        let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else { continue };
        let lines: Vec<u8> = rest.drain(..=end).collect();
        let mut text = String::new();
        for line in String::from_utf8_lossy(&lines).lines() {
            match form {
                Form::Json => text.push_str(line),
                Form::Table => text.push_str(&event(&serde_json::from_str(line).unwrap_or_default())),
            }
            text.push('\n');
        }
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            break;
        }
    }
    Ok(())
}

/// One connection that opened or ended, in a line.
fn event(event: &Value) -> String {
    if event["event"] == "missed" {
        return format!("missed {} connections that ended", shown(&event["count"]));
    }
    let text = |names: &[&str]| {
        let found = names.iter().map(|name| &event[*name]).find(|value| !value.is_null());
        found.map_or_else(|| "-".to_owned(), shown)
    };
    let mut line = format!(
        "{:<5}  {:<20}  {:>6}  {:<8}  {:<21}  {:<21}  {:<6}  {:<6}",
        text(&["event"]),
        text(&["workload"]),
        text(&["connection"]),
        text(&["direction"]),
        text(&["client", "source"]),
        text(&["original", "original_destination"]),
        text(&["verdict"]),
        text(&["tier"]),
    );
    for name in ["bytes_sent", "bytes_received", "duration_ms", "policy", "error"] {
        if !event[name].is_null() {
            // Writing to a string cannot fail.
            let _ = write!(line, "  {} {}", name.replace('_', " "), shown(&event[name]));
        }
    }
    line
}

/// One line for each connection.
fn table(connections: &[Value]) -> String {
    const COLUMNS: [(&str, usize); 8] = [
        ("workload", 20),
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
            None if value.is_null() => continue,
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
    fn what_is_known_of_a_connection_is_printed_for_people() {
        let known = json!({ "connection": 7, "client": "10.0.0.7:1", "policy": "shop/near[0]", "certificate": { "serial": "1" } });
        assert!(table(std::slice::from_ref(&known)).ends_with("shop/near[0]\n"));
        assert!(facts(&known).contains("policy                shop/near[0]\n"));
        assert!(facts(&known).contains("certificate           serial 1\n"));
    }

    #[test]
    fn what_happens_to_connections_is_printed_in_a_line_each() {
        let ended = json!({
            "event": "ended", "workload": "shop/web-1", "connection": 7, "direction": "outbound",
            "source": "10.0.0.7:1", "original_destination": "10.0.0.9:80", "verdict": "proxy", "tier": "relay",
            "bytes_sent": 5, "error": null,
        });
        let line = event(&ended);
        assert!(line.starts_with("ended  shop/web-1                 7  outbound  10.0.0.7:1"), "{line}");
        assert!(line.ends_with("relay   bytes sent 5"), "{line}");
        assert_eq!(event(&json!({ "event": "missed", "count": 3 })), "missed 3 connections that ended");
    }
}
