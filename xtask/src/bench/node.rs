//! One agent that serves very many pods: what it weighs, how soon a pod is served, what pods pay for each other, what stays
//! of those that are gone, and how soon a second agent has taken all of them over.
//!
//! # Layout
//! - here: what is found, and in which order it is measured
//! - `pods`: the pods
//! - `census`: what an agent holds
//! - `starts`: one more pod, found by the agent or asked for by the CNI plugin
//! - `churn`: pods that come and go
//! - `takeover`: a second agent

mod census;
mod churn;
mod pods;
mod starts;
mod takeover;
mod tell;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;

use self::census::Census;
use self::churn::Churn;
use self::pods::Pods;
use self::starts::Starts;
use self::takeover::TakeOver;
use super::flags::Extent;
use super::growth::ladder::{Found, Ladder};
use super::growth::{requests, round_trips};
use super::pair::serve;
use super::seating::{Cores, Hop, Role, Seating, seat, unseat};
use super::work::Work;
use crate::lab::{Agent, Authority, Lab, Node, Pod, Program, Wire};

pub(crate) use self::churn::PER_MINUTE;

/// The most pods.
pub(crate) const MOST: usize = 250;
/// How many pods are enrolled in turn, where it is to be seen what each weighs.
const SIZES: [usize; 4] = [1, 10, 50, MOST];
/// How many just to see that it works.
const FEWEST_SIZES: [usize; 2] = [1, 6];
/// How long an agent is left alone before it is weighed.
const QUIET: Duration = Duration::from_secs(2);
/// The pod whose connections are measured.
const CLIENT: &str = "client";

/// What was found of a node.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct NodeFigures {
    /// The agent idle, by number of pods.
    weights: Vec<Census>,
    /// How long it took to enrol all pods, told of at once: how many, and seconds.
    enrolled_at_once: Option<(usize, f64)>,
    /// What connections of one pod find beside the others.
    latency: Ladder,
    /// One more pod, beside all others.
    starts: Option<Starts>,
    churn: Option<Churn>,
    /// By a second agent, several times if there is time.
    takeovers: Vec<TakeOver>,
    /// What a reader should know next to the figures.
    pub(crate) notes: Vec<String>,
}

/// Measures one after the other.
pub(crate) fn measure(lab: &Lab, extent: Extent, rounds: usize, cores: Cores) -> Result<NodeFigures> {
    let mut found = NodeFigures::default();
    let authority = Authority::establish(lab, "node-authority")?;
    let node = Node::open(lab, &authority)?;
    let scene = Scene::set(lab, &node)?;
    let sections = json!({ "outbound": { "default": "proxy" } });
    let mut agent = node.agent(&sections)?;
    agent.until_serves(CLIENT)?;
    let mut pods = Pods::none(lab, &node);
    let sizes: &[usize] = if extent == Extent::Smoke { &FEWEST_SIZES } else { &SIZES };
    let most = sizes.last().copied().unwrap_or(1);
    for &size in sizes {
        // The client's pod is one of them.
        pods.enrol(&mut agent, size - 1)?;
        thread::sleep(QUIET);
        found.weights.push(Census::take(&agent, size)?);
    }
    compare_latency(&mut found, (lab, extent, rounds, cores), &scene, &mut agent, &mut pods, most)?;
    // The last one is the one that comes and goes.
    pods.enrol(&mut agent, most - 2)?;
    found.starts = Some(starts::measure(lab, extent, &node, &mut agent, most)?);
    pods.enrol(&mut agent, most - 1)?;
    found.churn = Some(churn::measure(lab, extent, &node, &mut agent, most)?);
    takeover::measure(lab, extent, &node, agent, &pods, &sections, &mut found.takeovers)?;
    Ok(found)
}

/// One pod and all of them in turn, so that both are of the same minute.
fn compare_latency(
    found: &mut NodeFigures,
    (lab, extent, rounds, cores): (&Lab, Extent, usize, Cores),
    scene: &Scene,
    agent: &mut Agent<'_>,
    pods: &mut Pods<'_>,
    most: usize,
) -> Result<()> {
    let climbs = if extent == Extent::Full { 3 } else { 1 };
    let samples = rounds.div_ceil(climbs);
    for climb in 0..climbs {
        let with_all = scene.sample(lab, agent, cores, samples)?;
        pods.enrol(agent, 0)?;
        thread::sleep(QUIET);
        let alone = scene.sample(lab, agent, cores, samples)?;
        let began = Instant::now();
        pods.enrol(agent, most - 1)?;
        found.enrolled_at_once = Some((most - 1, began.elapsed().as_secs_f64()));
        thread::sleep(QUIET);
        let with_all_again = scene.sample(lab, agent, cores, samples)?;
        for (sample, ((mut all, again), alone)) in
            with_all.into_iter().zip(with_all_again).zip(alone).enumerate()
        {
            for (figure, value) in &mut all {
                *value = f64::midpoint(*value, again.get(figure).copied().unwrap_or(*value));
            }
            let round = climb * samples + sample;
            found.latency.add(round, 1, alone);
            found.latency.add(round, most, all);
        }
    }
    Ok(())
}

/// The pod whose connections are measured, and the one they go to, which is not enrolled.
struct Scene {
    // In this order: what runs in a pod goes before it.
    _pause: Program,
    server: Program,
    client_pod: std::rc::Rc<Pod>,
    server_pod: std::rc::Rc<Pod>,
}

impl Scene {
    fn set(lab: &Lab, node: &Node<'_>) -> Result<Self> {
        let (client_pod, server_pod) = Wire::join(lab, "n-")?;
        let at = [Work::Request, Work::PingPong].map(|work| server_pod.v4(work.port()));
        let server = serve(lab, &server_pod, &at)?;
        let _pause = node.pause(&client_pod)?;
        node.runs(&client_pod, CLIENT);
        Ok(Self { _pause, server, client_pod, server_pod })
    }

    /// What connections of the client's find, everything on one core, again and again.
    fn sample(&self, lab: &Lab, agent: &Agent<'_>, cores: Cores, samples: usize) -> Result<Vec<Found>> {
        let at = |work: Work| self.server_pod.v4(work.port());
        let core = Seating::OneCore.core(cores, Role::Client, Hop::Relay);
        seat(self.server.pid(), core)?;
        seat(agent.pid(), core)?;
        let each = (0..samples).map(|_| {
            lab.patience().check()?;
            let mut found = requests(&self.client_pod, at(Work::Request), core)?;
            found.extend(round_trips(&self.client_pod, at(Work::PingPong), core)?);
            Ok(found)
        });
        let found = each.collect::<Result<_>>().context("measure the connections of a pod");
        unseat(agent.pid())?;
        found
    }
}
