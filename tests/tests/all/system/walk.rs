//! The README's walk through policies: its policies in a mesh of real sidecars, and every row of its table asked for.

use serde_json::json;
use sidestep_tests::{Config, Mesh, Need, Pod, Sidestep, eventually, needs_capture};

use super::commands::{block_fenced, table_under};
use super::shipped;
use super::web::{PAGE, nginx};

/// Who is asked.
const ASKED: &str = "orders";
const PORT: u16 = 8080;

/// One row: who asks for what, what comes of it, and which rule said so.
struct Row {
    caller: String,
    asks: String,
    gets: String,
    said_by: String,
}

fn rows() -> Vec<Row> {
    let table = table_under(&shipped("README.md"), "| caller | asks | gets | said by |");
    let plain = |cell: &String| cell.replace('`', "");
    table
        .iter()
        .map(|cells| {
            let [caller, asks, gets, said_by] = &cells[..] else { panic!("a row of four: {cells:?}") };
            Row { caller: plain(caller), asks: plain(asks), gets: plain(gets), said_by: plain(said_by) }
        })
        .collect()
}

#[test]
fn every_row_of_the_walk_through_policies_is_true() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"));
    let (near, far) = Pod::pair();
    let mesh = Mesh::new();
    mesh.hold_to(&block_fenced(&shipped("README.md"), "yaml policies"));
    let _nginx = nginx(&far);
    let config = mesh.member(Config::of(&far), ASKED);
    let guarded = Sidestep::sidecar(&far, &config);
    let rows = rows();
    for caller in ["web", "billing", "nobody"] {
        let config = match caller {
            "nobody" => Config::of(&near).with("outbound", json!({ "default": "direct" })),
            account => mesh.knows(mesh.member(Config::of(&near), account), &[(ASKED, &far)]),
        };
        // Policies are for those who are called, and these are not.
        let config = config.with("labels", json!({ "app": caller }));
        let _sidecar = Sidestep::sidecar(&near, &config);
        let own: Vec<&Row> = rows.iter().filter(|row| row.caller == caller).collect();
        assert!(!own.is_empty(), "the README says nothing of {caller}");
        for row in own {
            holds(row, &near, &far, &guarded);
        }
    }
}

/// Asks for what a row says, and looks at what comes of it.
fn holds(row: &Row, near: &Pod, far: &Pod, guarded: &Sidestep<'_>) {
    let (method, path) = row.asks.split_once(' ').unwrap_or(("GET", "/"));
    let before = guarded.log.lines().len();
    let url = format!("http://{}{path}", far.v4(PORT));
    let arguments = ["-s", "--path-as-is", "-X", method, "-w", "\n%{http_code} %{exitcode}", "-m", "5", &url];
    let curl = near.app().start("curl", arguments);
    curl.end();
    let printed = curl.stdout().join("\n");
    let found = match printed.lines().last() {
        Some("200 0") if printed.starts_with(PAGE) => "nginx",
        Some("403 0") if printed.starts_with("RBAC: access denied") => "403",
        Some("000 7") => "refused",
        _ => &printed,
    };
    assert_eq!(found, row.gets, "{} {}: {printed}", row.caller, row.asks);
    if row.said_by == "–" {
        return;
    }
    eventually("the log says which rule it was", || {
        let lines = guarded.log.lines().split_off(before);
        let said = |name: &str| lines.iter().any(|line| line.more.get(name) == Some(&json!(row.said_by)));
        let would_be = json!(format!("denied:{}", row.said_by));
        let tried = lines.iter().any(|line| line.more.get("would_be") == Some(&would_be));
        if said("policy") || tried { Ok(()) } else { Err(format!("{lines:?}")) }
    });
}
