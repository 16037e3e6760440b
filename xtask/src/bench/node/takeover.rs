//! A second agent takes all pods over from the first, while some of them connect all the time.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Value;

use super::pods::{Pods, Resident};
use crate::bench::flags::Extent;
use crate::bench::pair::serve;
use crate::bench::work::Work;
use crate::lab::node::{SERVING, Since};
use crate::lab::peer::Tally;
use crate::lab::{Agent, Lab, Node, Program, this_program};

/// How many pods connect meanwhile.
const CLIENTS: usize = 4;
/// How long each waits between two connections.
const PAUSE: &str = "2ms";
/// How long they go on after the last pod was taken over, and connect before the first is.
const AROUND: Duration = Duration::from_millis(500);

/// How one went.
#[derive(Debug, Clone, Serialize)]
pub(super) struct TakeOver {
    pub(super) pods: usize,
    /// From the start of the second agent's process to its serving the last pod.
    pub(super) seconds: f64,
    /// From its serving the first to its serving the last.
    pub(super) between_seconds: f64,
    /// What became of the connections that were made meanwhile.
    pub(super) connections: Tally,
}

/// A pod that connects all the time, to a server in itself, through its instance.
struct Load {
    client: Option<Child>,
    _server: Program,
}

/// Takes over once, or several times if there is time: each agent is the next one's first.
pub(super) fn measure<'a>(
    lab: &Lab,
    extent: Extent,
    node: &'a Node<'a>,
    mut agent: Agent<'a>,
    pods: &Pods<'_>,
    sections: &Value,
    found: &mut Vec<TakeOver>,
) -> Result<()> {
    let turns = if extent == Extent::Full { 5 } else { 1 };
    for _ in 0..turns {
        let loads = pods.first(CLIENTS).iter().map(|it| Load::begin(lab, it)).collect::<Result<Vec<_>>>()?;
        std::thread::sleep(AROUND);
        let began = SystemTime::now();
        let mut successor = node.successor(sections)?;
        let mut names = pods.names();
        names.push(super::CLIENT.to_owned());
        let last = successor.until_says(SERVING, &names, Since::START)?;
        let first = successor.first_said(SERVING).context("nothing was taken over")?;
        std::thread::sleep(AROUND);
        let mut connections = Tally::default();
        for load in loads {
            connections = connections.and(&load.end()?);
        }
        let seconds = |from: SystemTime| last.duration_since(from).map_or(0.0, |passed| passed.as_secs_f64());
        found.push(TakeOver {
            pods: names.len(),
            seconds: seconds(began),
            between_seconds: seconds(first),
            connections,
        });
        agent.stop()?;
        agent = successor;
    }
    Ok(())
}

impl Load {
    fn begin(lab: &Lab, resident: &Resident) -> Result<Self> {
        let at = resident.pod.v4(Work::Request.port());
        let server = serve(lab, &resident.pod, &[at])?;
        let mut command: Command = resident.pod.app(this_program());
        command.args(["peer", "insist", &at.to_string(), "--pause", PAUSE]);
        let client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Ok(Self { client: Some(client.context("start a client")?), _server: server })
    }

    fn end(mut self) -> Result<Tally> {
        let mut client = self.client.take().context("a client has ended already")?;
        // Which is what it waits for.
        drop(client.stdin.take());
        let output = client.wait_with_output().context("wait for a client")?;
        if !output.status.success() {
            bail!(
                "a client ended with {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        serde_json::from_slice(&output.stdout).context("read what became of a client's connections")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(mut client) = self.client.take() {
            drop(client.kill());
            drop(client.wait());
        }
    }
}
