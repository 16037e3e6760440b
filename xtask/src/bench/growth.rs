//! What becomes of latency and memory when there is more of something: workloads on a node, prefixes in a policy, policies,
//! connections that stand.
//!
//! [`Ladder`](ladder::Ladder) is the one way to keep such figures: by size, round by round, so that sizes are compared within a round.
//! What is large, and how it is made so, is told by [`workloads`], [`connections`] and, a room above, prefixes.

pub(crate) mod connections;
pub(crate) mod kernel_memory;
pub(crate) mod ladder;
pub(crate) mod line;
mod node;
pub(crate) mod workloads;

use anyhow::Result;
use serde::Serialize;

use self::ladder::{Figure, Found};
use super::chart::{Chart, Lines, Scale, Series};
use super::pair::Pair;
use super::seating::{Cores, Seating};
use super::work::{Part, Work};
use crate::lab::Pod;
use crate::lab::peer::Answer;

/// Round trips of one sample.
const ROUND_TRIPS: usize = 2_000;
/// Connections of one sample.
const REQUESTS: usize = 300;

/// A figure over a size, as somebody would draw it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Curve {
    pub(crate) title: String,
    pub(crate) x_label: String,
    pub(crate) y_label: String,
    /// By name: how large, and what was found there.
    pub(crate) series: Vec<(String, Vec<(f64, f64)>)>,
}

impl Curve {
    /// What a file is called that shows it.
    pub(super) fn name(&self) -> String {
        let words = self.title.split(|letter: char| !letter.is_ascii_alphanumeric());
        let words = words.filter(|word| !word.is_empty()).map(str::to_ascii_lowercase);
        format!("growth-{}", words.collect::<Vec<_>>().join("-"))
    }

    /// The picture. Sizes grow by factors, and so does their axis.
    pub(super) fn chart(&self) -> Chart {
        let series =
            self.series.iter().map(|(name, points)| Series { name: name.clone(), points: points.clone() });
        Chart::lines(Lines {
            title: self.title.clone(),
            x_label: self.x_label.clone(),
            y_label: self.y_label.clone(),
            x_scale: Scale::Log,
            y_scale: Scale::Linear,
            series: series.collect(),
            order: Vec::new(),
        })
    }
}

/// Everything on one core: what grows is work, not the way between cores.
const SEATING: Seating = Seating::OneCore;

/// What a client of a pair finds: connects and requests, and round trips.
fn sample(pair: &Pair, cores: Cores) -> Result<Found> {
    let core = pair.seat(SEATING, cores)?;
    let at = |work| pair.server_at(work);
    let mut found = requests(pair.client_pod(), at(Work::Request), core)?;
    found.extend(round_trips(pair.client_pod(), at(Work::PingPong), core)?);
    Ok(found)
}

/// What connections of one request each take.
pub(super) fn requests(pod: &Pod, to: std::net::SocketAddr, core: usize) -> Result<Found> {
    let answer = Answer::of(&mut Part::Request.client(pod, to, REQUESTS, Some(core)))?;
    let mut found = Found::from([
        (Figure::Request, answer.whole.quantile(0.5) as f64),
        (Figure::RequestP99, answer.whole.quantile(0.99) as f64),
    ]);
    found.extend(answer.connect.map(|connect| (Figure::Connect, connect.quantile(0.5) as f64)));
    Ok(found)
}

/// What round trips on one connection take.
pub(super) fn round_trips(pod: &Pod, to: std::net::SocketAddr, core: usize) -> Result<Found> {
    let answer = Answer::of(&mut Part::PingPong.client(pod, to, ROUND_TRIPS, Some(core)))?;
    Ok(Found::from([
        (Figure::PingPong, answer.whole.quantile(0.5) as f64),
        (Figure::PingPongP99, answer.whole.quantile(0.99) as f64),
    ]))
}
