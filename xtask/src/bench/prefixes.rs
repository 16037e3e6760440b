//! What a verdict costs when there are ten prefixes, and when there are a hundred thousand.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use super::pair::serve;
use super::seating::{Cores, Hop, Role, Seating, seat};
use super::spread::Spread;
use super::work::{Part, Work};
use crate::lab::peer::Answer;
use crate::lab::{Lab, Log, Pod, Program, Sidecar, Wire};

/// The two numbers of prefixes that are compared.
pub(crate) const FEW: usize = 10;
/// See [`FEW`].
pub(crate) const MANY: usize = 100_000;

/// Connects per sample.
const CONNECTS: usize = 400;

/// A destination whose rule says `deny`; nobody has the address.
const DENIED: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 77);

/// The same connects with few and with many prefixes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Prefixes {
    /// Median of a connect to a destination whose rule says `direct`, in microseconds.
    pub(crate) direct_us: [Option<Spread>; 2],
    /// Median of a connect that a rule denies, in microseconds.
    pub(crate) denied_us: [Option<Spread>; 2],
    /// Many over few, round by round, for `direct`.
    pub(crate) direct_ratio: Option<Spread>,
    /// Many over few, round by round, for `deny`.
    pub(crate) denied_ratio: Option<Spread>,
}

/// A workload with that many rules, and a server for it.
#[derive(Debug)]
struct Ruled {
    sidecar: Sidecar,
    server: Program,
    client: Rc<Pod>,
    /// Only has to be there.
    _server_pod: Rc<Pod>,
    direct: SocketAddr,
}

/// Medians of the two kinds of connect in one round, in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Medians {
    direct: f64,
    denied: f64,
}

/// Measures both in interleaved rounds, everything on one core.
pub(crate) fn measure(lab: &Lab, rounds: usize, cores: Cores) -> Result<Prefixes> {
    let few = Ruled::raise(lab, FEW)?;
    let many = Ruled::raise(lab, MANY).context("a sidecar with 100,000 prefixes")?;
    let mut taken = Vec::new();
    for _ in 0..rounds {
        lab.patience().check()?;
        taken.push([few.sample(cores)?, many.sample(cores)?]);
    }
    Ok(sum_up(&taken))
}

fn sum_up(rounds: &[[Medians; 2]]) -> Prefixes {
    let spread = |which: usize, of: fn(Medians) -> f64| {
        Spread::of(rounds.iter().map(|round| of(round[which]))).map(|spread| spread.scaled(1e-3))
    };
    let ratio = |of: fn(Medians) -> f64| Spread::of(rounds.iter().map(|[few, many]| of(*many) / of(*few)));
    Prefixes {
        direct_us: [0, 1].map(|which| spread(which, |it| it.direct)),
        denied_us: [0, 1].map(|which| spread(which, |it| it.denied)),
        direct_ratio: ratio(|it| it.direct),
        denied_ratio: ratio(|it| it.denied),
    }
}

impl Ruled {
    fn raise(lab: &Lab, prefixes: usize) -> Result<Self> {
        let (client, server_pod) = Wire::join(lab, &format!("r{prefixes}-"))?;
        let server = serve(lab, &server_pod)?;
        let direct = server_pod.v4(Work::Request.port());
        let sidecar = Sidecar::start(lab, &client, &configuration(prefixes, direct), Log::Off)?;
        Ok(Self { sidecar, server, client, _server_pod: server_pod, direct })
    }

    fn sample(&self, cores: Cores) -> Result<Medians> {
        let core = |role| Seating::OneCore.core(cores, role, Hop::None);
        seat(self.server.pid(), core(Role::Server))?;
        // It is told of each denial and logs it, which is not what a verdict costs.
        seat(self.sidecar.pid(), Seating::Apart.core(cores, Role::Proxy, Hop::None))?;
        let connects =
            |to| Answer::of(&mut Part::Connect.client(&self.client, to, CONNECTS, Some(core(Role::Client))));
        let direct = connects(self.direct)?;
        ensure!(direct.outcome == Answer::CONNECTED, "a direct connect ended with {}", direct.outcome);
        let denied = connects(SocketAddr::from((DENIED, self.direct.port())))?;
        ensure!(denied.outcome == "ECONNREFUSED", "a denied connect ended with {}", denied.outcome);
        Ok(Medians { direct: direct.whole.quantile(0.5) as f64, denied: denied.whole.quantile(0.5) as f64 })
    }
}

/// Rules for the two destinations, and as many more as it takes, spread so that the trie above the two is as deep as
/// that many prefixes make it.
fn configuration(prefixes: usize, direct: SocketAddr) -> Value {
    let others: Vec<String> = others(prefixes.saturating_sub(2)).into_iter().collect();
    json!({
        "outbound": {
            "default": "direct",
            "rules": [
                { "direct": format!("{}/32", direct.ip()) },
                { "deny": format!("{DENIED}/32") },
                { "proxy": others },
            ],
        },
        "inbound": { "ports": "none" },
    })
}

/// Different prefixes of 24 to 32 bits below 10.0.0.0/8, the same in every run.
fn others(count: usize) -> BTreeSet<String> {
    let mut state = 0_u32;
    let mut found = BTreeSet::new();
    while found.len() < count {
        // A full-period linear congruential generator (Knuth, TAOCP 3.3.4, table 1, line 16).
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let bits = 24 + (state >> 28) % 9;
        let address = (10 << 24) | ((state >> 4) & 0x00ff_ffff);
        let network = address & (u32::MAX << (32 - bits));
        // The wire's own addresses keep their own rules.
        if network >> 8 != u32::from(DENIED) >> 8 {
            found.insert(format!("{}/{bits}", Ipv4Addr::from(network)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_rules_as_asked_for_and_none_for_the_wire() {
        let others = others(1_000);
        assert_eq!(others.len(), 1_000);
        assert!(others.iter().all(|prefix| prefix.starts_with("10.") && !prefix.starts_with("10.78.0.")));
    }

    #[test]
    fn many_are_compared_with_few_round_by_round() {
        let medians = |direct, denied| Medians { direct, denied };
        let rounds = [
            [medians(20_000.0, 2_000.0), medians(30_000.0, 2_500.0)],
            [medians(40_000.0, 4_000.0), medians(60_000.0, 5_000.0)],
        ];
        let prefixes = sum_up(&rounds);
        assert_eq!(prefixes.direct_ratio.unwrap().median, 1.5);
        assert_eq!(prefixes.denied_us[1].unwrap().median, 3.75);
    }
}
