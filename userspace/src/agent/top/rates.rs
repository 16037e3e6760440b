//! What happened to every workload between two looks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::telemetry::Summary;

/// How many buckets requests fall into by how long they took.
const BUCKETS: usize = Summary::BOUNDS.len() + 1;

/// Everything that is served, at one moment.
pub(super) struct Look {
    at: Instant,
    processes: Vec<String>,
    /// By process and name.
    workloads: BTreeMap<(String, String), Counts>,
}

/// What was counted of a workload so far, and what is open.
#[derive(Clone, Debug, Default)]
struct Counts {
    state: String,
    open: u64,
    opened: u64,
    denied: u64,
    requests: u64,
    failed: u64,
    within: Vec<u64>,
    tiers: [u64; 3],
}

/// One row: a workload between two looks. Rates are per second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    pub(super) workload: String,
    pub(super) state: String,
    pub(super) open: u64,
    pub(super) connects: f64,
    pub(super) requests: f64,
    pub(super) failed: f64,
    pub(super) denied: f64,
    /// The time that half of the requests kept within, if there were any.
    pub(super) p50: Option<Duration>,
    /// The time that all but one of a hundred did.
    pub(super) p99: Option<Duration>,
    /// Open connections by tier: relay, tunnel, http.
    pub(super) tiers: [u64; 3],
}

/// All rows, and what runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    pub(super) processes: Vec<String>,
    pub(super) rows: Vec<Row>,
}

impl Look {
    /// Out of what each process, by the name of its socket, said of itself.
    pub(super) fn new(at: Instant, answers: Vec<(String, Value)>) -> Self {
        let mut look = Self { at, processes: Vec::new(), workloads: BTreeMap::new() };
        for (socket, status) in answers {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            look.processes.push(format!("{} pid {}", text(&status["form"]), status["pid"]));
            for workload in status["workloads"].as_array().into_iter().flatten() {
                let name = text(&workload["workload"]);
                look.workloads.insert((socket.clone(), name), Counts::read(workload));
            }
        }
        look
    }
}

impl Counts {
    fn read(workload: &Value) -> Self {
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let both = |value: &Value| number(&value["outbound"]) + number(&value["inbound"]);
        let requests = &workload["requests"];
        Self {
            state: workload["state"].as_str().unwrap_or("-").to_owned(),
            open: both(&workload["open"]),
            opened: both(&workload["opened"]),
            denied: number(&workload["denied"]),
            requests: number(&requests["count"]),
            failed: number(&requests["failed"]),
            within: requests["within"].as_array().into_iter().flatten().map(number).collect(),
            tiers: ["relay", "tunnel", "http"].map(|tier| number(&workload["tiers"][tier])),
        }
    }
}

impl Rates {
    /// What happened from one look to the next. A workload that was not there before has begun with nothing.
    pub(super) fn between(before: &Look, now: &Look) -> Self {
        let seconds = now.at.saturating_duration_since(before.at).as_secs_f64();
        let rows = now.workloads.iter().map(|(key, counts)| {
            let was = before.workloads.get(key).cloned().unwrap_or_default();
            // One that began anew under its name counts from zero again.
            let was = if was.opened > counts.opened || was.requests > counts.requests {
                Counts::default()
            } else {
                was
            };
            let rate = |was: u64, is: u64| {
                if seconds > 0.0 { is.saturating_sub(was) as f64 / seconds } else { 0.0 }
            };
            let mut within = [0; BUCKETS];
            for (index, count) in within.iter_mut().enumerate() {
                let of = |counts: &Counts| counts.within.get(index).copied().unwrap_or_default();
                *count = of(counts).saturating_sub(of(&was));
            }
            Row {
                workload: key.1.clone(),
                state: counts.state.clone(),
                open: counts.open,
                connects: rate(was.opened, counts.opened),
                requests: rate(was.requests, counts.requests),
                failed: rate(was.failed, counts.failed),
                denied: rate(was.denied, counts.denied),
                p50: percentile(&within, 0.50),
                p99: percentile(&within, 0.99),
                tiers: counts.tiers,
            }
        });
        Self { processes: now.processes.clone(), rows: rows.collect() }
    }
}

/// The time that this part of the requests kept within, as exactly as their buckets tell.
fn percentile(within: &[u64; BUCKETS], part: f64) -> Option<Duration> {
    let all: u64 = within.iter().sum();
    if all == 0 {
        return None;
    }
    let wanted = part * all as f64;
    let mut so_far = 0.0;
    for (index, count) in within.iter().enumerate() {
        let count = *count as f64;
        if so_far + count >= wanted && count > 0.0 {
            let lower = if index == 0 { 0 } else { Summary::BOUNDS[index - 1] };
            // What is above all bounds is told as the last of them.
            let upper = Summary::BOUNDS.get(index).copied().unwrap_or(lower);
            let inside = (wanted - so_far) / count;
            let micros = (upper - lower) as f64;
            return Some(Duration::from_micros(lower) + Duration::from_secs_f64(micros * inside / 1e6));
        }
        so_far += count;
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A look at workloads of one node: name, open, opened, denied, and requests of up to 1 ms and of up to 5 ms.
    pub(in super::super) fn look(at: Instant, workloads: &[(&str, u64, u64, u64, [u64; 2])]) -> Look {
        let workloads: Vec<Value> = workloads
            .iter()
            .map(|(name, open, opened, denied, [fast, slow])| {
                json!({
                    "workload": name, "state": "ready", "denied": denied,
                    "open": { "outbound": open, "inbound": 0 }, "opened": { "outbound": 0, "inbound": opened },
                    "tiers": { "relay": open, "tunnel": 0, "http": 0 },
                    "requests": { "count": fast + slow, "failed": 0, "within": [0, fast, slow] },
                })
            })
            .collect();
        let status = json!({ "form": "node", "pid": 42, "workloads": workloads });
        Look::new(at, vec![("node".to_owned(), status)])
    }

    #[test]
    fn rates_are_what_was_added_over_the_time_between() {
        let start = Instant::now();
        let before = look(start, &[("shop/web", 3, 100, 0, [10, 0])]);
        let later = start + Duration::from_secs(2);
        let now = look(later, &[("shop/web", 5, 300, 8, [110, 100]), ("shop/db", 1, 4, 0, [0, 0])]);
        let rates = Rates::between(&before, &now);
        let [db, web] = &rates.rows[..] else { panic!("{rates:?}") };
        assert_eq!((web.open, web.connects, web.requests, web.denied), (5, 100.0, 100.0, 4.0));
        assert_eq!(web.p50, Some(Duration::from_millis(1)));
        assert_eq!(web.p99, Some(Duration::from_micros(4920)));
        assert_eq!((db.connects, db.p50), (2.0, None));
        assert_eq!(rates.processes, ["node pid 42"]);
    }

    #[test]
    fn one_that_begins_anew_under_its_name_has_no_negative_rates() {
        let start = Instant::now();
        let before = look(start, &[("shop/web", 3, 100, 9, [10, 0])]);
        let now = look(start + Duration::from_secs(1), &[("shop/web", 1, 2, 1, [3, 0])]);
        let row = &Rates::between(&before, &now).rows[0];
        assert_eq!((row.connects, row.requests, row.denied), (2.0, 3.0, 1.0));
        let same = Rates::between(&now, &now);
        assert_eq!(same.rows[0].connects, 0.0, "no time, no rate");
    }
}
