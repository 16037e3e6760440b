//! Pods that come and go beside all others, as a runtime and the API server tell of them: what stays of them in the agent.

use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::QUIET;
use super::census::Census;
use crate::bench::flags::Extent;
use crate::lab::node::{LET_GO, Since};
use crate::lab::peer::Latencies;
use crate::lab::{Agent, Lab, Node, Pod, Program};

/// How many come and go in a minute.
pub(crate) const PER_MINUTE: u32 = 100;
/// How many of those that come are there at a time.
const AT_A_TIME: usize = 5;
/// How many come and go before it counts: what is kept for all of them is there then.
const BEFORE: usize = 20;
/// After this long threads of the agent that nobody needs any more are gone (tokio keeps them for ten seconds).
const IDLE: Duration = Duration::from_secs(12);
/// The first number of a pod that comes and goes.
const NUMBERS: usize = 1_000;

/// What stayed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Churn {
    /// How many pods came and went between the two counts.
    pub(super) pods: usize,
    pub(super) seconds: f64,
    pub(super) before: Census,
    pub(super) after: Census,
    /// The plugin's `ADD` of each, in nanoseconds.
    pub(super) added: Latencies,
}

/// A pod that has come.
struct Guest {
    name: String,
    _pause: Program,
    pod: Pod,
}

/// Whoever makes them and takes them away.
struct Visits<'a, 'agent> {
    lab: &'a Lab,
    node: &'a Node<'a>,
    agent: &'a mut Agent<'agent>,
    guests: VecDeque<Guest>,
    next: usize,
    adds: Vec<u64>,
}

/// Lets pods come and go for a while, and counts before and after.
pub(super) fn measure(
    lab: &Lab,
    extent: Extent,
    node: &Node<'_>,
    agent: &mut Agent<'_>,
    pods: usize,
) -> Result<Churn> {
    let (before, count, pause) = match extent {
        Extent::Smoke => (1, 4, QUIET),
        Extent::Quick => (BEFORE, PER_MINUTE as usize, IDLE),
        Extent::Full => (BEFORE, 5 * PER_MINUTE as usize, IDLE),
    };
    let since = agent.now();
    let mut visits = Visits { lab, node, agent, guests: VecDeque::new(), next: 0, adds: Vec::new() };
    visits.run(before, since)?;
    thread::sleep(pause);
    let first = Census::take(visits.agent, pods)?;
    visits.adds.clear();
    let began = Instant::now();
    visits.run(count, since)?;
    let seconds = began.elapsed().as_secs_f64();
    thread::sleep(pause);
    let after = Census::take(visits.agent, pods)?;
    Ok(Churn { pods: count, seconds, before: first, after, added: Latencies::of(visits.adds)? })
}

impl Visits<'_, '_> {
    /// So many come, each at its time, and in the end all have gone.
    fn run(&mut self, count: usize, since: Since) -> Result<()> {
        let (began, period) = (Instant::now(), Duration::from_secs(60) / PER_MINUTE);
        let first = self.next;
        for turn in 0..count {
            self.lab.patience().check()?;
            self.come()?;
            if self.guests.len() > AT_A_TIME {
                self.go()?;
            }
            let due = began + period * (turn as u32 + 1);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        while !self.guests.is_empty() {
            self.go()?;
        }
        let names: Vec<String> = (first..self.next).map(name).collect();
        self.agent.until_says(LET_GO, &names, since).map(drop)
    }

    fn come(&mut self) -> Result<()> {
        let name = name(self.next);
        let pod = Pod::one_of_many(self.lab, &name, (NUMBERS + self.next) as u16)?;
        self.next += 1;
        self.node.expects(&pod, &name);
        let began = Instant::now();
        self.node.call("ADD", &pod, &name)?;
        self.adds.push(began.elapsed().as_nanos() as u64);
        let _pause = self.node.pause(&pod)?;
        self.node.runs(&pod, &name);
        self.guests.push_back(Guest { name, _pause, pod });
        Ok(())
    }

    fn go(&mut self) -> Result<()> {
        let Some(Guest { name, _pause, pod }) = self.guests.pop_front() else { return Ok(()) };
        drop(_pause);
        self.node.call("DEL", &pod, &name)?;
        self.node.delete("Pod", &name);
        Ok(())
    }
}

fn name(number: usize) -> String {
    format!("guest{number}")
}
