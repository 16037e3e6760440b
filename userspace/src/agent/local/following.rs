//! Connections as they open and end, one line each, for as long as somebody listens.
//!
//! Those that end are told of by whoever counts them. Those that open are found by looking now and then: one that is
//! over before the next look is told of at its end alone.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde_json::json;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::shown::connection;
use crate::agent::register::Register;
use crate::telemetry::{Followed, Follower};

/// How often is looked for connections that have opened.
const LOOK: Duration = Duration::from_millis(200);

/// The lines, of one workload or of all: first every connection that is open.
pub(super) fn lines(register: &Arc<Register>, workload: Option<String>) -> BoxStream<'static, String> {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = register.outlets().follow();
    let following =
        Following { register: Arc::downgrade(register), workload, ended, looks, open: HashMap::new() };
    stream::unfold(following, |mut following| async {
        let lines = following.next().await?;
        Some((lines, following))
    })
    .filter(|lines| {
        let some = !lines.is_empty();
        async move { some }
    })
    .boxed()
}

struct Following {
    register: Weak<Register>,
    workload: Option<String>,
    ended: Follower,
    looks: Interval,
    /// By workload, the connections that were open at the last look.
    open: HashMap<String, HashSet<u64>>,
}

impl Following {
    /// The next lines, perhaps none; nothing when the process ends.
    async fn next(&mut self) -> Option<String> {
        tokio::select! {
            _ = self.looks.tick() => self.opened(),
            followed = self.ended.next() => match followed? {
                Followed::Ended { workload, line } if self.follows(&workload) => {
                    Some(line.replacen('{', "{\"event\":\"ended\",", 1))
                }
                Followed::Ended { .. } => Some(String::new()),
                Followed::Missed(count) => Some(format!("{}\n", json!({ "event": "missed", "count": count }))),
            },
        }
    }

    fn follows(&self, workload: &str) -> bool {
        self.workload.as_deref().is_none_or(|wanted| wanted == workload)
    }

    fn opened(&mut self) -> Option<String> {
        let mut lines = String::new();
        let all = self.register.upgrade()?.all();
        self.open.retain(|name, _| all.iter().any(|(known, _)| known == name));
        for (name, entry) in
            all.iter().filter(|(name, _)| self.workload.as_ref().is_none_or(|wanted| wanted == name))
        {
            let Some(instance) = entry.instance.upgrade() else { continue };
            let connections = instance.connections();
            let now = connections.iter().map(|live| live.connection).collect();
            let before = self.open.insert(name.clone(), now).unwrap_or_default();
            for live in connections.iter().filter(|live| !before.contains(&live.connection)) {
                let mut shown = connection(name, live);
                shown["event"] = json!("open");
                lines.push_str(&shown.to_string());
                lines.push('\n');
            }
        }
        Some(lines)
    }
}
