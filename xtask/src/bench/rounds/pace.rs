//! How fast the open loop's requests come: half of what the slowest mode can serve, so that every mode has the same work
//! and none is lost in it.

use anyhow::{Context, Result};

use crate::bench::mode::Mode;
use crate::bench::pair::Pair;
use crate::bench::seating::{Cores, Seating};
use crate::bench::spread::Spread;
use crate::bench::work::Work;

/// Who sets the pace: the first of these that is compared. Where none is, it is the last mode, for they go from the
/// shortest way to the longest.
const REFERENCES: [Mode; 3] = [Mode::EnvoyObservedIptables, Mode::EnvoyTcpIptables, Mode::RelayIptables];
/// Samples of the closed loop whose median is what can be served.
const SAMPLES: usize = 3;
/// The part of it that is asked for.
const PART: f64 = 0.5;

/// The rate of the open loop in one column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) seating: Seating,
    /// Who sets it.
    pub(crate) reference: Mode,
    /// What that mode serves on as many connections in a closed loop, in requests per second.
    pub(crate) saturated: f64,
    /// What is asked for, in requests per second.
    pub(crate) rate: f64,
}

impl Pace {
    /// Measures what can be served.
    pub(super) fn set(pairs: &[Pair], seating: Seating, cores: Cores) -> Result<Self> {
        let up = |mode: &Mode| pairs.iter().find(|pair| pair.mode() == *mode);
        let pair = REFERENCES.iter().find_map(up).or(pairs.last()).context("no mode could be raised")?;
        let mut rates = Vec::with_capacity(SAMPLES);
        for _ in 0..SAMPLES {
            pair.forget_connections()?;
            let answer = pair.measure(Work::HttpMany, seating, cores, None)?.answer;
            rates.push(answer.operations as f64 / answer.seconds);
        }
        let saturated = Spread::of(rates).context("expected at least one sample, found none")?.median;
        Ok(Self { seating, reference: pair.mode(), saturated, rate: (saturated * PART).round() })
    }
}
