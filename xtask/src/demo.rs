//! `demo`: two workloads with real programs, steered by eBPF alone, and every claim about them checked.
//!
//! It shows what the product does and what it costs; what it must not do is the tests' business. Whatever it makes is
//! gone when it ends, however it ends.

mod access;
mod claims;
mod golden;
mod http;
mod nginx;
mod node;
mod pcap;
mod policy;
mod programs;
mod rules;
mod scene;
mod story;
mod tap;
mod tls;
mod tunnel;

use anyhow::{Result, bail, ensure};

use self::scene::{Scene, Stage};
use self::story::Story;
use crate::bench::{self, Comparison, Cores, Figure, Measure, Mode, Plan, Seating, Work};
use crate::build::{self, Arch, Linkage, Profile};
use crate::lab::{self, Authority, Lab};
use crate::process::find_program;
use crate::workspace::Workspace;
use crate::{build_ebpf, setup};

/// Without these there is nothing to show.
const NEEDED: [&str; 5] = ["ip", "nsenter", "curl", "nginx", "tcpdump"];
/// Without these there is less to show.
const WANTED: [&str; 3] = ["iptables", "nft", "bpftool"];
/// Rounds of the small latency table.
const ROUNDS: usize = 5;

/// What to show.
#[derive(clap::Args)]
pub(crate) struct Flags {
    /// Two pods of a container runtime under the agent of a node, instead of two workloads with sidecars
    #[arg(long)]
    node: bool,
}

/// Prepares the machine, builds the product and shows it.
pub(crate) fn run(workspace: &Workspace, flags: &Flags) -> Result<()> {
    lab::require_root("demo")?;
    let needed: &[&str] = if flags.node { &node::NEEDED } else { &NEEDED };
    let is_missing = |program: &&&str| find_program(program).is_none();
    if needed.iter().chain(&WANTED).any(|program| is_missing(&program)) {
        setup::prepare(workspace)?;
    }
    if let Some(missing) = needed.iter().find(is_missing) {
        bail!("the demo needs {missing}, which could not be installed; `cargo xtask setup` says why");
    }
    if flags.node {
        node::require_plugins()?;
    }
    build_ebpf::run(workspace, &build_ebpf::Flags::default())?;
    // What ships: the static release binary.
    let sidestep = build::sidestep(workspace, Profile::Release, Linkage::Static(Arch::host()?))?;
    let lab = Lab::open("sidestep-demo", sidestep)?;
    let mut story = Story::default();
    if flags.node {
        sidestep_tests::sidestep::choose_binary(lab.sidestep());
        node::tell(&mut story, &lab)?;
    } else {
        tell(&mut story, &lab)?;
    }
    story.step("Nothing is left");
    let outcome = lab.leftovers().and_then(|left| {
        ensure!(left.is_empty(), "still there: {}", left.join(", "));
        Ok(String::new())
    });
    story.claim("no namespace, no cgroup, no pinned map or program", outcome);
    story.end()
}

fn tell(story: &mut Story, lab: &Lab) -> Result<()> {
    let stage = Stage::set(lab)?;
    strangers(story, &stage)?;
    let authority = Authority::establish(lab, "authority")?;
    acquaintances(story, &stage, &authority)?;
    observers(story, &stage, &authority)?;
    guarded(story, &stage, &authority)?;
    drop(stage);
    lab.patience().check()?;
    story.step("What it costs");
    measure(story, lab)
}

/// Two workloads that know nothing of each other.
fn strangers(story: &mut Story, stage: &Stage<'_>) -> Result<()> {
    let lab = stage.lab;
    story.step("Two workloads: a client with curl, a server with nginx, a sidecar in each");
    for pod in [&stage.client, &stage.server] {
        let (v4, v6) = (pod.v4(0).ip(), pod.v6(0).ip());
        story.tell(&format!("{}: {v4} and {v6}, cgroup {}", pod.name(), pod.cgroup().display()));
    }
    let tap = tunnel::tap(stage, "plain")?;
    let scene = Scene::of_strangers(stage)?;
    story.claim("both sidecars are ready", Ok(String::new()));
    let [v4, v6] = claims::ways(stage);
    let requests = [("A request over IPv4", v4, "/over-ipv4"), ("The same over IPv6", v6, "/over-ipv6")];
    for (title, way, path) in requests {
        lab.patience().check()?;
        story.step(title);
        claims::request(story, &scene, way, path);
    }
    tunnel::plain_on_the_wire(story, tap.end(), &requests.map(|(_, _, path)| path));
    lab.patience().check()?;
    story.step("Steered by eBPF alone");
    claims::no_rules(story, &stage.client);
    claims::no_rules(story, &stage.server);
    programs::attached(story, &stage.client);
    lab.patience().check()?;
    story.step("A rule of the client's says deny");
    claims::denied(story, &scene);
    lab.patience().check()?;
    story.step("A rule of the client's says direct");
    claims::direct(story, &scene);
    lab.patience().check()?;
    story.step("Both sidecars stop");
    claims::stopped(story, scene);
    Ok(())
}

/// The same two when each has an identity and knows the other's.
fn acquaintances(story: &mut Story, stage: &Stage<'_>, authority: &Authority) -> Result<()> {
    let lab = stage.lab;
    lab.patience().check()?;
    story.step("The same two with identities: a tunnel between them");
    story.tell("$ sidestep ca init");
    let policy = tunnel::permissive(lab)?;
    let tap = tunnel::tap(stage, "tunnel")?;
    let scene = Scene::of_acquaintances(stage, authority.directory(), policy.path())?;
    for member in stage.members() {
        story.tell(&member.identity());
    }
    tunnel::requests(story, &scene);
    tunnel::encrypted_on_the_wire(story, tap.end());
    lab.patience().check()?;
    story.step("Somebody without an identity");
    tunnel::strict(story, &scene, &policy);
    for pod in [&stage.client, &stage.server] {
        claims::no_rules(story, pod);
    }
    lab.patience().check()?;
    story.step("Both sidecars stop");
    claims::stopped(story, scene);
    Ok(())
}

/// The same two when they look at what the tunnel carries.
fn observers(story: &mut Story, stage: &Stage<'_>, authority: &Authority) -> Result<()> {
    stage.lab.patience().check()?;
    story.step("The same two with `http: {}`: traces, metrics and a line for each request");
    let scene = Scene::of_observers(stage, authority.directory())?;
    http::looked_at(story, &scene);
    claims::stopped(story, scene);
    Ok(())
}

/// The same two when the server has a policy.
fn guarded(story: &mut Story, stage: &Stage<'_>, authority: &Authority) -> Result<()> {
    stage.lab.patience().check()?;
    story.step("The same two with an AuthorizationPolicy of the server's");
    let rules = policy::written(stage.lab, stage)?;
    let scene = Scene::of_guarded(stage, authority.directory(), rules.path())?;
    policy::enforced(story, &scene, &rules)?;
    claims::stopped(story, scene);
    Ok(())
}

fn measure(story: &mut Story, lab: &Lab) -> Result<()> {
    let plan = Plan {
        modes: vec![Mode::NoCapture, Mode::RelayIptables, Mode::RelayEbpf],
        turns: [Work::PingPong, Work::Request].map(|work| (work, Seating::OneCore)).to_vec(),
        rounds: ROUNDS,
        cores: Cores::of_this_machine()?,
    };
    let mut comparison = Comparison::default();
    bench::compare(lab, &plan, &mut comparison, |_| ())?;
    story.tell("one hop, client, proxy and server on one core; medians of interleaved rounds, in µs");
    story.tell(&bench::latency_table(&comparison, &plan, Seating::OneCore).to_string());
    let (ebpf, iptables) = (Mode::RelayEbpf, Mode::RelayIptables);
    let measure = Measure::Added(Figure::P50);
    let added = comparison.ratio(ebpf, &[iptables], Work::PingPong, Seating::OneCore, measure);
    if let Some(added) = added {
        story.tell(&format!("eBPF adds {:.2} times what iptables adds to a ping-pong", added.median));
    }
    story.claim("every connection measured went the way its row says", went_their_ways(&comparison, &plan));
    Ok(())
}

fn went_their_ways(comparison: &Comparison, plan: &Plan) -> Result<String> {
    let absent: Vec<String> =
        comparison.absent.iter().map(|(mode, why)| format!("{}: {why}", mode.title())).collect();
    ensure!(absent.is_empty(), "not measured: {}", absent.join("; "));
    ensure!(
        comparison.steered.len() + 1 == plan.modes.len(),
        "expected counts of {} modes, found {}",
        plan.modes.len() - 1,
        comparison.steered.len()
    );
    let mut counts = Vec::new();
    for bench::Steered { mode, made, steered } in &comparison.steered {
        ensure!(steered >= made, "{mode}: only {steered} of {made} connections were steered");
        counts.push(format!("{mode}: {steered}"));
    }
    Ok(format!("connections steered, by their own counters: {}", counts.join(", ")))
}
