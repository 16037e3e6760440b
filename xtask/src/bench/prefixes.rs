//! What a verdict costs when there are ten prefixes, and when there are a hundred thousand; and that a round trip, which
//! needs none, does not change.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use super::flags::Extent;
use super::growth::ladder::{Figure, Found, Ladder};
use super::growth::{Curve, kernel_memory, round_trips};
use super::pair::serve;
use super::seating::{Cores, Hop, Role, Seating, seat};
use super::spread::Spread;
use super::table::Table;
use super::work::{Part, Work};
use crate::lab::peer::Answer;
use crate::lab::{Lab, Log, Pod, Program, Sidecar, Wire};

/// The two numbers of prefixes that are compared.
pub(crate) const FEW: usize = 10;
/// See [`FEW`].
pub(crate) const MANY: usize = 100_000;
/// These and what lies between them.
const SIZES: [usize; 4] = [FEW, 1_000, 10_000, MANY];
/// What lies between them when there is little time.
const FEWER_SIZES: [usize; 3] = [FEW, 1_000, MANY];

/// Connects per sample.
const CONNECTS: usize = 400;

/// A destination whose rule says `deny`; nobody has the address.
const DENIED: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 77);

/// The same connects, and the same round trips, with few and with many prefixes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Prefixes {
    /// Median of a connect to a destination whose rule says `direct`, in microseconds: few, many.
    pub(crate) direct_us: [Option<Spread>; 2],
    /// Median of a connect that a rule denies, in microseconds: few, many.
    pub(crate) denied_us: [Option<Spread>; 2],
    /// Many over few, round by round, for `direct`.
    pub(crate) direct_ratio: Option<Spread>,
    /// Many over few, round by round, for `deny`.
    pub(crate) denied_ratio: Option<Spread>,
    /// Many over few, round by round, for round trips through the proxy.
    pub(crate) ping_pong_ratio: Option<Spread>,
    /// All of it, and what lies between few and many.
    pub(crate) latency: Ladder,
    /// What that many prefixes weigh.
    pub(crate) weights: Vec<Weight>,
}

/// What a sidecar with that many prefixes weighs, in bytes.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Weight {
    pub(crate) prefixes: usize,
    /// Its process, resident.
    pub(crate) resident_bytes: u64,
    /// Its BPF maps and programs.
    pub(crate) kernel_bytes: u64,
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
    proxied: SocketAddr,
}

/// Measures all sizes in interleaved rounds, everything on one core.
pub(crate) fn measure(lab: &Lab, extent: Extent, rounds: usize, cores: Cores) -> Result<Prefixes> {
    let sizes: &[usize] = match extent {
        Extent::Smoke | Extent::Quick => &FEWER_SIZES,
        Extent::Full => &SIZES,
    };
    let raise = |&size: &usize| {
        Ok((size, Ruled::raise(lab, size).with_context(|| format!("a sidecar with {size} prefixes"))?))
    };
    let ruled: Vec<(usize, Ruled)> = sizes.iter().map(raise).collect::<Result<_>>()?;
    let mut latency = Ladder::default();
    for round in 0..rounds {
        for (size, ruled) in &ruled {
            lab.patience().check()?;
            latency.add(round, *size, ruled.sample(cores)?);
        }
    }
    let weigh = |(size, ruled): &(usize, Ruled)| ruled.weigh(*size);
    Ok(sum_up(latency, ruled.iter().map(weigh).collect::<Result<_>>()?))
}

fn sum_up(latency: Ladder, weights: Vec<Weight>) -> Prefixes {
    let ratio = |figure| latency.ratio(MANY, FEW, figure);
    let both = |figure| [FEW, MANY].map(|size| latency.microseconds(size, figure));
    Prefixes {
        direct_us: both(Figure::Direct),
        denied_us: both(Figure::Denied),
        direct_ratio: ratio(Figure::Direct),
        denied_ratio: ratio(Figure::Denied),
        ping_pong_ratio: ratio(Figure::PingPong),
        latency,
        weights,
    }
}

impl Prefixes {
    /// Latency over the number of prefixes.
    pub(crate) fn curves(&self) -> Vec<Curve> {
        let x_label = "prefixes in the policy";
        let megabytes = |name: &str, of: fn(&Weight) -> u64| {
            let points = self.weights.iter().map(|it| (it.prefixes as f64, of(it) as f64 / 1e6));
            (name.to_owned(), points.collect())
        };
        vec![
            self.latency.curve("Latency by number of prefixes", x_label),
            Curve {
                title: "Memory of a sidecar by number of prefixes".to_owned(),
                x_label: x_label.to_owned(),
                y_label: "MB".to_owned(),
                series: vec![
                    megabytes("process, resident", |it| it.resident_bytes),
                    megabytes("BPF maps and programs", |it| it.kernel_bytes),
                ],
            },
        ]
    }

    /// Latency by number of prefixes.
    pub(crate) fn tables(&self) -> Vec<(String, Table)> {
        vec![
            ("Prefixes in the policy, one core, µs".to_owned(), self.latency.table("prefixes")),
            ("Memory of a sidecar by number of prefixes".to_owned(), self.memory()),
        ]
    }

    fn memory(&self) -> Table {
        let mut table = Table::with_head(["prefixes", "process, resident", "BPF maps and programs"]);
        let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        for Weight { prefixes, resident_bytes, kernel_bytes } in &self.weights {
            table.add(vec![prefixes.to_string(), megabytes(*resident_bytes), megabytes(*kernel_bytes)]);
        }
        table
    }
}

impl Ruled {
    fn raise(lab: &Lab, prefixes: usize) -> Result<Self> {
        let (client, server_pod) = Wire::join(lab, &format!("r{prefixes}-"))?;
        let (direct, proxied) = (server_pod.v4(Work::Request.port()), server_pod.v6(Work::PingPong.port()));
        let server = serve(lab, &server_pod, &[proxied, direct])?;
        let configuration = configuration(prefixes, direct, proxied);
        let sidecar = Sidecar::start(lab, &client, &configuration, Log::Off)?;
        Ok(Self { sidecar, server, client, _server_pod: server_pod, direct, proxied })
    }

    fn weigh(&self, prefixes: usize) -> Result<Weight> {
        Ok(Weight {
            prefixes,
            resident_bytes: self.sidecar.resident_bytes()?,
            kernel_bytes: kernel_memory::of_bpf(self.sidecar.pid())?,
        })
    }

    fn sample(&self, cores: Cores) -> Result<Found> {
        let core = |role| Seating::OneCore.core(cores, role, Hop::None);
        seat(self.server.pid(), core(Role::Server))?;
        seat(self.sidecar.pid(), Seating::OneCore.core(cores, Role::Proxy, Hop::Relay))?;
        let mut found = round_trips(&self.client, self.proxied, core(Role::Client))?;
        // It is told of each denial and logs it, which is not what a verdict costs.
        seat(self.sidecar.pid(), Seating::Apart.core(cores, Role::Proxy, Hop::None))?;
        let connects =
            |to| Answer::of(&mut Part::Connect.client(&self.client, to, CONNECTS, Some(core(Role::Client))));
        let direct = connects(self.direct)?;
        ensure!(direct.outcome == Answer::CONNECTED, "a direct connect ended with {}", direct.outcome);
        let denied = connects(SocketAddr::from((DENIED, self.direct.port())))?;
        ensure!(denied.outcome == "ECONNREFUSED", "a denied connect ended with {}", denied.outcome);
        found.insert(Figure::Direct, direct.whole.quantile(0.5) as f64);
        found.insert(Figure::Denied, denied.whole.quantile(0.5) as f64);
        Ok(found)
    }
}

/// Rules for the three destinations, and as many more as it takes, spread so that the trie above the two is as deep as
/// that many prefixes make it.
fn configuration(prefixes: usize, direct: SocketAddr, proxied: SocketAddr) -> Value {
    let mut proxy: Vec<String> = others(prefixes.saturating_sub(3)).into_iter().collect();
    proxy.push(format!("{}/128", proxied.ip()));
    json!({
        "outbound": {
            "default": "direct",
            "rules": [
                { "direct": format!("{}/32", direct.ip()) },
                { "deny": format!("{DENIED}/32") },
                { "proxy": proxy },
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
        let found = |direct, denied| Found::from([(Figure::Direct, direct), (Figure::Denied, denied)]);
        let mut latency = Ladder::default();
        latency.add(0, FEW, found(20_000.0, 2_000.0));
        latency.add(0, MANY, found(30_000.0, 2_500.0));
        latency.add(1, FEW, found(40_000.0, 4_000.0));
        latency.add(1, MANY, found(60_000.0, 5_000.0));
        let prefixes = sum_up(latency, Vec::new());
        assert_eq!(prefixes.direct_ratio.unwrap().median, 1.5);
        assert_eq!(prefixes.denied_us[1].unwrap().median, 3.75);
        assert_eq!(prefixes.ping_pong_ratio, None);
    }
}
