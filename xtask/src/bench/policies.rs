//! What a connection to a workload costs that has ten policies, and one that has ten thousand: refused by the kernel, and let
//! in; what they weigh, and how long it takes until a changed file is in force.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use super::flags::Extent;
use super::growth::ladder::{Figure, Found, Ladder};
use super::growth::{Curve, requests, round_trips};
use super::pair::serve;
use super::seating::{Cores, Hop, Role, Seating, seat};
use super::spread::Spread;
use super::table::Table;
use super::work::{Part, Work};
use crate::lab::peer::Answer;
use crate::lab::{Lab, Log, Member, NAMESPACE, Pod, Program, Sidecar, Wire};

/// The two numbers of policies that are compared.
pub(crate) const FEW: usize = 10;
/// See [`FEW`].
pub(crate) const MANY: usize = 10_000;
/// These and what lies between them.
const SIZES: [usize; 3] = [FEW, 1_000, MANY];

/// Connects per sample.
const CONNECTS: usize = 400;
/// A port of the workload that a policy denies.
const DENIED: u16 = 9;
/// Whose port a policy denies after the file has changed: somebody has to serve it before.
const TOGGLED: Work = Work::ShortConnections;

/// The same connections with few and with many policies.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Policies {
    /// Many over few, round by round, for a connection that the kernel refuses.
    pub(crate) denied_ratio: Option<Spread>,
    /// The same for one that is let in, from connect to close.
    pub(crate) allowed_ratio: Option<Spread>,
    /// All of it, and what lies between few and many.
    pub(crate) latency: Ladder,
    /// What that many policies weigh and take.
    pub(crate) weights: Vec<Weight>,
}

/// What that many policies weigh, and how long a change of one takes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Weight {
    pub(crate) policies: usize,
    /// The sidecar's process, resident, in bytes.
    pub(crate) resident_bytes: u64,
    /// From the file's rename to the first connection that is refused by what it says now, in milliseconds.
    pub(crate) reload_ms: Option<Spread>,
}

/// A workload with that many policies, a server in it, and somebody who connects.
#[derive(Debug)]
struct Guarded {
    policies: usize,
    file: PathBuf,
    sidecar: Sidecar,
    server: Program,
    client: Rc<Pod>,
    server_pod: Rc<Pod>,
}

/// Measures all sizes in interleaved rounds, everything on one core.
pub(crate) fn measure(lab: &Lab, extent: Extent, rounds: usize, cores: Cores) -> Result<Policies> {
    let sizes: &[usize] = match extent {
        Extent::Smoke | Extent::Quick => &[FEW, MANY],
        Extent::Full => &SIZES,
    };
    let raise =
        |&size: &usize| Guarded::raise(lab, size).with_context(|| format!("a sidecar with {size} policies"));
    let guarded: Vec<Guarded> = sizes.iter().map(raise).collect::<Result<_>>()?;
    let mut latency = Ladder::default();
    let mut reloads = vec![Vec::new(); guarded.len()];
    for round in 0..rounds {
        for (guarded, reloads) in guarded.iter().zip(&mut reloads) {
            lab.patience().check()?;
            latency.add(round, guarded.policies, guarded.sample(cores)?);
            reloads.push(guarded.reload(lab)?);
        }
    }
    let weigh = |(guarded, reloads): (&Guarded, Vec<f64>)| {
        Ok(Weight {
            policies: guarded.policies,
            resident_bytes: guarded.sidecar.resident_bytes()?,
            reload_ms: Spread::of(reloads),
        })
    };
    let weights = guarded.iter().zip(reloads).map(weigh).collect::<Result<_>>()?;
    Ok(sum_up(latency, weights))
}

fn sum_up(latency: Ladder, weights: Vec<Weight>) -> Policies {
    let ratio = |figure| latency.ratio(MANY, FEW, figure);
    Policies { denied_ratio: ratio(Figure::Denied), allowed_ratio: ratio(Figure::Request), latency, weights }
}

impl Policies {
    /// What many policies weigh more than few, in bytes.
    pub(crate) fn growth(&self) -> Option<u64> {
        let of = |policies| self.weights.iter().find(|weight| weight.policies == policies);
        Some(of(MANY)?.resident_bytes.saturating_sub(of(FEW)?.resident_bytes))
    }

    /// How long a change of many takes, in milliseconds.
    pub(crate) fn reload_ms(&self) -> Option<Spread> {
        self.weights.iter().find(|weight| weight.policies == MANY)?.reload_ms
    }

    /// Latency over the number of policies.
    pub(crate) fn curves(&self) -> Vec<Curve> {
        vec![self.latency.curve("Latency by number of policies", "policies of the workload")]
    }

    /// Latency by number of policies, and what they weigh.
    pub(crate) fn tables(&self) -> Vec<(String, Table)> {
        let mut table = Table::with_head(["policies", "process, resident", "from rename to effect"]);
        for Weight { policies, resident_bytes, reload_ms } in &self.weights {
            let reload = reload_ms.map_or_else(String::new, |spread| format!("{:.0} ms", spread.median));
            table.add(vec![policies.to_string(), format!("{:.1} MB", *resident_bytes as f64 / 1e6), reload]);
        }
        vec![
            ("Policies of the workload, one core, µs".to_owned(), self.latency.table("policies")),
            ("Memory of a sidecar by number of policies, and how long a change takes".to_owned(), table),
        ]
    }
}

impl Guarded {
    fn raise(lab: &Lab, policies: usize) -> Result<Self> {
        let (client, server_pod) = Wire::join(lab, &format!("p{policies}-"))?;
        let at = [Work::Request, Work::PingPong, TOGGLED].map(|work| server_pod.v4(work.port()));
        let server = serve(lab, &server_pod, &at)?;
        let file = lab.file(&format!("policies-{policies}")).join("policies.yaml");
        write(&file, &written(policies, None))?;
        let authority = crate::lab::Authority::establish(lab, &format!("authority-{policies}"))?;
        let configuration = configuration(&server_pod, authority.directory(), &file);
        let sidecar = Sidecar::start(lab, &server_pod, &configuration, Log::Off)?;
        Ok(Self { policies, file, sidecar, server, client, server_pod })
    }

    fn sample(&self, cores: Cores) -> Result<Found> {
        let core = |role| Seating::OneCore.core(cores, role, Hop::None);
        seat(self.server.pid(), core(Role::Server))?;
        seat(self.sidecar.pid(), Seating::OneCore.core(cores, Role::Proxy, Hop::Relay))?;
        let at = |work: Work| self.server_pod.v4(work.port());
        let mut found = round_trips(&self.client, at(Work::PingPong), core(Role::Client))?;
        found.extend(requests(&self.client, at(Work::Request), core(Role::Client))?);
        // It is told of each refusal and logs it, which is not what a verdict costs.
        seat(self.sidecar.pid(), Seating::Apart.core(cores, Role::Proxy, Hop::None))?;
        let denied = self.connect(DENIED, CONNECTS, Some(core(Role::Client)))?;
        ensure!(denied.outcome == "ECONNREFUSED", "a denied connect ended with {}", denied.outcome);
        found.insert(Figure::Denied, denied.whole.quantile(0.5) as f64);
        Ok(found)
    }

    /// Changes one policy and waits until that is in force; then changes it back. In milliseconds.
    fn reload(&self, lab: &Lab) -> Result<f64> {
        write(&self.file, &written(self.policies, Some(TOGGLED.port())))?;
        let began = Instant::now();
        // It connects several times, and the change may come in between or cut it: then it fails, and is asked again.
        let is = |outcome: &str| {
            let answer = self.connect(TOGGLED.port(), 1, None).ok();
            Ok(answer.filter(|answer| answer.outcome == outcome).map(drop))
        };
        lab.patience().until("a changed policy to be in force", || is("ECONNREFUSED"))?;
        let elapsed = began.elapsed();
        write(&self.file, &written(self.policies, None))?;
        lab.patience().until("the policy to be as it was", || is(Answer::CONNECTED))?;
        Ok(elapsed.as_secs_f64() * 1e3)
    }

    fn connect(&self, port: u16, count: usize, core: Option<usize>) -> Result<Answer> {
        let to = SocketAddr::new(self.server_pod.v4(0).ip(), port);
        Answer::of(&mut Part::Connect.client(&self.client, to, count, core))
    }
}

fn configuration(server: &Pod, authority: &Path, policies: &Path) -> Value {
    let member = Member::of("server", server);
    let mut sections = member.sections(authority, &[member]);
    sections["policies"] = json!([policies]);
    sections
}

/// Replaces a file that is being watched.
fn write(file: &Path, text: &str) -> Result<()> {
    let directory = file.parent().context("the policies have no directory")?;
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let new = file.with_extension("new");
    fs::write(&new, text).with_context(|| format!("write {}", new.display()))?;
    fs::rename(&new, file).with_context(|| format!("put {} in its place", file.display()))
}

/// That many policies: some look at addresses, some at who calls, some at requests to a port that nothing here is asked for.
/// The first denies [`DENIED`], and one port more if there is one.
fn written(policies: usize, more: Option<u16>) -> String {
    let mut text =
        policy("denied", "DENY", &format!("to: [{{ operation: {{ ports: {:?} }} }}]", ports(more)));
    for number in 1..policies {
        let source = Ipv4Addr::from((11 << 24) | (number as u32) << 8);
        let rule = match number % 3 {
            0 => format!("from: [{{ source: {{ ipBlocks: ['{source}/24'] }} }}]"),
            1 => format!(
                "from: [{{ source: {{ principals: ['cluster.local/ns/n{}/sa/a{number}'] }} }}]",
                number % 97
            ),
            _ => format!(
                "to: [{{ operation: {{ ports: ['80'], methods: [GET], paths: ['/a{}/{number}/*'] }} }}]",
                number % 97
            ),
        };
        text.push_str(&policy(&format!("p{number}"), "DENY", &rule));
    }
    text
}

fn ports(more: Option<u16>) -> Vec<String> {
    [Some(DENIED), more].into_iter().flatten().map(|port| port.to_string()).collect()
}

fn policy(name: &str, action: &str, rule: &str) -> String {
    let mut text = String::new();
    let _infallible = write!(
        text,
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{ name: {name}, namespace: \
         {NAMESPACE} }}\nspec:\n  action: {action}\n  rules:\n    - {rule}\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_policies_as_asked_for_and_the_first_denies_a_port() {
        let text = written(100, Some(10));
        assert_eq!(text.matches("kind: AuthorizationPolicy").count(), 100);
        assert!(text.contains(r#"ports: ["9", "10"]"#) && !written(100, None).contains(r#""10""#));
    }

    #[test]
    fn growth_is_what_many_weigh_more_than_few() {
        let weight =
            |policies, resident_bytes| Weight { policies, resident_bytes, reload_ms: Spread::of([100.0]) };
        let policies = sum_up(Ladder::default(), vec![weight(FEW, 9_000_000), weight(MANY, 19_000_000)]);
        assert_eq!(policies.growth(), Some(10_000_000));
        assert_eq!(policies.reload_ms().map(|spread| spread.median), Some(100.0));
    }
}
