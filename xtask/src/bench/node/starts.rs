//! One more pod beside all others: how soon it is served once the agent is told of it, and what the CNI plugin adds to the
//! making of one.

use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::bench::flags::Extent;
use crate::lab::node::{LET_GO, SERVING};
use crate::lab::peer::Latencies;
use crate::lab::{Agent, Lab, Node, Pod};

/// What was found, in nanoseconds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Starts {
    /// How many pods stood, the one more included.
    pub(super) pods: usize,
    /// From the API server's being told of a pod that runs to the agent's serving it.
    pub(super) found: Latencies,
    /// The plugin's `ADD`, as its caller sees it: until the plugin has ended.
    pub(super) added: Latencies,
    /// The plugin's `DEL` likewise.
    pub(super) deleted: Latencies,
}

/// Enrols and lets go of one pod, again and again.
pub(super) fn measure(
    lab: &Lab,
    extent: Extent,
    node: &Node<'_>,
    agent: &mut Agent<'_>,
    pods: usize,
) -> Result<Starts> {
    let (finds, adds) = match extent {
        Extent::Smoke => (2, 3),
        Extent::Quick => (20, 50),
        Extent::Full => (50, 200),
    };
    let (mut found, mut added, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
    let pod = Pod::one_of_many(lab, "last", u16::MAX - 1)?;
    let pause = node.pause(&pod)?;
    let name = "last".to_owned();
    for _ in 0..finds {
        lab.patience().check()?;
        let (since, told) = (agent.now(), SystemTime::now());
        node.runs(&pod, &name);
        let served = agent.until_says(SERVING, std::slice::from_ref(&name), since)?;
        found.push(served.duration_since(told).context("the clock went back")?.as_nanos() as u64);
        node.disable(&pod, &name);
        agent.until_says(LET_GO, std::slice::from_ref(&name), since)?;
        node.delete("Pod", &name);
    }
    drop(pause);
    for _ in 0..adds {
        lab.patience().check()?;
        let since = agent.now();
        node.expects(&pod, &name);
        let began = Instant::now();
        node.call("ADD", &pod, &name)?;
        added.push(began.elapsed().as_nanos() as u64);
        let began = Instant::now();
        node.call("DEL", &pod, &name)?;
        deleted.push(began.elapsed().as_nanos() as u64);
        node.delete("Pod", &name);
        agent.until_says(LET_GO, std::slice::from_ref(&name), since)?;
    }
    Ok(Starts {
        pods,
        found: Latencies::of(found)?,
        added: Latencies::of(added)?,
        deleted: Latencies::of(deleted)?,
    })
}
