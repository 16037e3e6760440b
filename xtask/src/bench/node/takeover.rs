//! A second agent takes all pods over from the first, while some of them connect to others all the time, through tunnels.

use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Value;

use crate::bench::flags::Extent;
use crate::bench::pair::serve;
use crate::bench::work::Work;
use crate::lab::node::{SERVING, Since};
use crate::lab::peer::Tally;
use crate::lab::{Agent, Lab, Node, Pod, Program, Wire, this_program};

/// How many pods connect meanwhile, each to another one.
pub(super) const CLIENTS: usize = 4;
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

/// Two pods of the node; one can connect to the other all the time.
struct Load {
    // In this order: what runs in a pod goes before it.
    client: Option<Child>,
    server: Program,
    _pauses: [Program; 2],
    names: [String; 2],
    pods: (Rc<Pod>, Rc<Pod>),
}

/// Takes over once, or several times if there is time: each agent is the next one's first.
pub(super) fn measure<'a>(
    lab: &Lab,
    extent: Extent,
    node: &'a Node<'a>,
    mut agent: Agent<'a>,
    mut names: Vec<String>,
    sections: &Value,
) -> Result<Vec<TakeOver>> {
    let turns = if extent == Extent::Full { 5 } else { 1 };
    let loads = (1..).take(CLIENTS).map(|number| Load::prepare(lab, node, number));
    let mut loads = loads.collect::<Result<Vec<_>>>()?;
    let of_loads: Vec<String> = loads.iter().flat_map(|load| load.names.clone()).collect();
    agent.until_says(SERVING, &of_loads, Since::START)?;
    names.extend(of_loads);
    let mut found = Vec::new();
    for _ in 0..turns {
        loads.iter_mut().try_for_each(Load::begin)?;
        thread::sleep(AROUND);
        let began = SystemTime::now();
        let mut successor = node.successor(sections)?;
        let last = successor.until_says(SERVING, &names, Since::START)?;
        let first = successor.first_said(SERVING).context("nothing was taken over")?;
        thread::sleep(AROUND);
        let mut connections = Tally::default();
        for load in &mut loads {
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
    Ok(found)
}

impl Load {
    /// Makes both pods, enrols them and starts the server.
    fn prepare(lab: &Lab, node: &Node<'_>, number: u8) -> Result<Self> {
        let pods = Wire::one_of_many(lab, &format!("t{number}-"), number)?;
        let pauses = [node.pause(&pods.0)?, node.pause(&pods.1)?];
        let names = [format!("from{number}"), format!("to{number}")];
        let server = serve(lab, &pods.1, &[pods.1.v4(Work::Request.port())])?;
        node.runs(&pods.0, &names[0]);
        node.runs(&pods.1, &names[1]);
        Ok(Self { client: None, server, _pauses: pauses, names, pods })
    }

    fn begin(&mut self) -> Result<()> {
        self.server.check()?;
        let (client, server) = &self.pods;
        let mut command: Command = client.app(this_program());
        command.args(["peer", "insist", &server.v4(Work::Request.port()).to_string(), "--pause", PAUSE]);
        let client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        self.client = Some(client.context("start a client")?);
        Ok(())
    }

    fn end(&mut self) -> Result<Tally> {
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
