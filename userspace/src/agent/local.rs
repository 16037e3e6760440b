//! What a process says of itself at its Unix socket: what it serves, every connection that is open, and its configuration.
//!
//! `GET /v1/status`, `/v1/connections`, `/v1/explain?connection=N`, `/v1/config`, `/v1/metrics`, `/v1/log`; each of the first
//! five of one workload with `?workload=NAME`. `PUT /v1/log` changes what is logged. Nothing else changes anything.

mod following;
mod shown;

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;

use crate::admin::Pieces;
use crate::admin::local::{DIRECTORY, Local, Question, Reply};
use crate::agent::logging;
use crate::agent::register::{Entry, Register};
use crate::sys::kernel;
use shown::{certificate, connection, workload};

/// Answers there for whoever is in the register; says so where it cannot be, since nothing else depends on it.
pub(super) fn serve(name: &str, register: &Arc<Register>) -> Option<JoinHandle<()>> {
    let local = match Local::listen(Path::new(DIRECTORY), name) {
        Ok(local) => local,
        Err(error) => {
            tracing::warn!(%error, directory = DIRECTORY, "cannot be asked what it serves");
            return None;
        }
    };
    let register = Arc::clone(register);
    Some(tokio::spawn(local.serve(move |question| answer(&register, &question))))
}

fn answer(register: &Arc<Register>, question: &Question) -> Reply {
    let workload = question.parameters.get("workload").map(String::as_str);
    let meant = match meant(register, workload) {
        Ok(meant) => meant,
        Err(missing) => return missing,
    };
    match (question.changes, question.path.as_str()) {
        (false, "/v1/status") => Reply::Json(status(register, &meant).to_string()),
        (false, "/v1/connections") if question.parameters.contains_key("follow") => {
            Reply::Lines(following::lines(register, workload.map(ToOwned::to_owned)))
        }
        (false, "/v1/connections") => Reply::Json(connections(&meant).to_string()),
        (false, "/v1/explain") => explain(&meant, question),
        (false, "/v1/config") => {
            let of_one = |(name, entry): &(String, Arc<Entry>)| (name.clone(), (entry.config)());
            Reply::Json(Value::Object(meant.iter().map(of_one).collect::<Map<_, _>>()).to_string())
        }
        (false, "/v1/metrics") => {
            let metrics = register.metrics();
            let all = || Some(metrics.exposition());
            let exposition = workload.map_or_else(all, |workload| metrics.exposition_of(workload));
            exposition.map_or_else(
                || Reply::Missing("no workload of that name is served here\n".to_owned()),
                |exposition| Reply::Pieces(Box::new(exposition) as Pieces),
            )
        }
        (false, "/v1/log") => Reply::Text(logging::filter()),
        (true, "/v1/log") => match logging::change(question.body.trim()) {
            Ok(()) => Reply::Text(logging::filter()),
            Err(error) => Reply::Refused(format!("{error:#}\n")),
        },
        _ => Reply::Missing(
            "there are GET /v1/status, /v1/connections, /v1/explain, /v1/config, /v1/metrics, /v1/log and PUT /v1/log\n"
                .to_owned(),
        ),
    }
}

/// Whom a question is about: all, or the one of that name.
fn meant(register: &Register, workload: Option<&str>) -> Result<Vec<(String, Arc<Entry>)>, Reply> {
    let Some(workload) = workload else { return Ok(register.all()) };
    let missing =
        || Reply::Missing(format!("expected a workload that is served here, found none called {workload}\n"));
    register.find(workload).map(|entry| vec![(workload.to_owned(), entry)]).ok_or_else(missing)
}

fn status(register: &Register, meant: &[(String, Arc<Entry>)]) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "form": register.serves.word(),
        "pid": std::process::id(),
        "since": moment(register.started),
        "kernel": kernel::version().ok().map(|version| version.to_string()),
        "log": logging::filter(),
        "workloads": meant.iter().map(|(name, entry)| workload(name, entry)).collect::<Vec<_>>(),
    })
}

/// Every open connection, each with whose it is.
fn connections(meant: &[(String, Arc<Entry>)]) -> Value {
    let of_one = |(name, entry): &(String, Arc<Entry>)| {
        let open = entry.instance.upgrade().map(|instance| instance.connections()).unwrap_or_default();
        open.iter().map(|live| connection(name, live)).collect::<Vec<_>>()
    };
    json!({ "connections": meant.iter().flat_map(of_one).collect::<Vec<_>>() })
}

/// One open connection, with the certificate that is shown for it.
fn explain(meant: &[(String, Arc<Entry>)], question: &Question) -> Reply {
    let number: Option<u64> = question.parameters.get("connection").and_then(|number| number.parse().ok());
    let Some(number) = number else {
        return Reply::Refused("expected ?connection=NUMBER, found none\n".to_owned());
    };
    let mut found = meant.iter().filter_map(|(name, entry)| {
        let open = entry.instance.upgrade()?.connections();
        let live = open.iter().find(|live| live.connection == number)?;
        let mut found = connection(name, live);
        found["certificate"] = certificate(entry);
        Some(found)
    });
    match (found.next(), found.next()) {
        (Some(found), None) => Reply::Json(found.to_string()),
        (Some(_), Some(_)) => Reply::Refused(format!(
            "expected one connection of the number {number}, found one of several workloads; name one with --workload\n"
        )),
        (None, _) => Reply::Missing(format!(
            "expected an open connection, found none of the number {number}; it may have ended\n"
        )),
    }
}

fn moment(time: std::time::SystemTime) -> Option<String> {
    Timestamp::try_from(time).ok().map(|time| time.to_string())
}

#[cfg(test)]
mod tests;
