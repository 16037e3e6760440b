//! The README keeps its word: its commands run, its configuration is valid, the tests that it names exist.

use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use sidestep_tests::{Need, Node, Place, Process, eventually, needs, needs_capture};

use super::commands::{Block, Kind, block_fenced, blocks};
use super::laptop::Laptop;
use super::shipped;

/// Where the configuration in the README serves readiness.
const ADMIN: ([u8; 4], u16) = ([127, 0, 0, 1], 15021);

fn readme() -> PathBuf {
    shipped("README.md")
}

fn blocks_of(kind: Kind) -> Vec<Block> {
    let mut found = blocks(&readme());
    found.retain(|block| block.kind == kind);
    assert!(!found.is_empty(), "the README has no {kind:?}");
    found
}

/// A laptop with the README's own configuration.
fn laptop() -> Laptop {
    Laptop::new(&block_fenced(&readme(), "yaml config"))
}

#[test]
fn the_commands_of_the_readme_do_what_it_says() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"), Need::Tool("unshare"), Need::Tool("iptables"));
    let laptop = laptop();
    for block in blocks_of(Kind::Script) {
        keeps_its_word(&laptop, laptop.pod.app(), &block);
    }
}

#[test]
fn what_the_readme_asks_of_a_running_service_is_answered() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"), Need::Tool("unshare"));
    let laptop = laptop();
    let process = laptop.become_command(laptop.pod.sidecar(), &blocks_of(Kind::Service)[0].text);
    ready(&laptop, &process);
    for block in blocks_of(Kind::Live) {
        keeps_its_word(&laptop, laptop.pod.sidecar(), &block);
    }
    let status = process.stop(Signal::SIGTERM);
    assert!(status.success(), "{status}: {}", process.stderr());
}

/// Runs a script, which must succeed and print what is said of it.
fn keeps_its_word(laptop: &Laptop, place: Place<'_>, block: &Block) {
    let script = laptop.start(place, &block.text);
    let status = script.end();
    let printed = script.stdout().join("\n");
    let shown = || format!("{}printed {printed}\n{}", block.text, script.stderr());
    assert!(status.success(), "{status} of {}", shown());
    assert!(block.prints.as_ref().is_none_or(|wanted| printed.contains(wanted)), "{}", shown());
}

#[test]
fn the_services_of_the_readme_get_ready_and_stop_when_told() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"), Need::Tool("unshare"), Need::Envoy);
    let mut proxy: Option<Block> = None;
    let mut services = 0;
    for block in blocks(&readme()) {
        match block.kind {
            Kind::Proxy => proxy = Some(block),
            Kind::Service => {
                services += 1;
                serves(&block, proxy.take().as_ref());
            }
            Kind::Script | Kind::Live | Kind::Chore | Kind::Podman | Kind::Node => {}
        }
    }
    assert!(services > 0, "the README has no service");
}

/// Starts a service, asks for a page through it, and stops it.
fn serves(service: &Block, proxy: Option<&Block>) {
    let laptop = laptop();
    let pod = &laptop.pod;
    let _proxy = proxy.map(|proxy| laptop.become_command(pod.sidecar(), &proxy.text));
    let process = laptop.become_command(pod.sidecar(), &service.text);
    ready(&laptop, &process);
    let page = laptop.start(pod.app(), "exec curl -s http://example.com/");
    page.succeed();
    assert_eq!(page.stdout(), [super::web::PAGE]);
    let (_, metrics) =
        pod.namespace.http(ADMIN.into(), "/metrics").unwrap_or_else(|error| panic!("metrics: {error}"));
    let captured = |line: &&str| {
        line.starts_with("sidestep_verdicts_total{") && line.contains("\"proxy\"") && line.ends_with(" 1")
    };
    assert!(metrics.lines().any(|line| captured(&line)), "{metrics}");
    explained(&metrics);
    let status = process.stop(Signal::SIGTERM);
    assert!(status.success(), "{status} of {}", service.text);
}

/// Every metric that is served has to be in the README.
fn explained(metrics: &str) {
    let text = std::fs::read_to_string(readme()).unwrap_or_default();
    let names = metrics.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next());
    let strange: Vec<&str> = names.filter(|name| !text.contains(&format!("| `{name}` |"))).collect();
    assert_eq!(strange, [""; 0], "metrics that the README does not explain");
}

fn ready(laptop: &Laptop, process: &Process) {
    eventually("the service is ready", || {
        if let Some(status) = process.status() {
            panic!("it ended with {status} before it was ready");
        }
        match laptop.pod.namespace.http(ADMIN.into(), "/readyz") {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

#[test]
fn the_agent_of_the_readme_serves_a_node() {
    needs_capture!();
    let node = Node::new();
    // The file is where the harness has it; the rest is as it is written.
    let command = format!("sidestep node --config {}", "node.yaml");
    assert!(blocks_of(Kind::Node).iter().all(|block| block.text.trim() == command));
    let agent = node.agent();
    node.want(false);
    assert!(agent.process.stop(Signal::SIGTERM).success(), "{}", agent.process.stderr());
}

#[test]
fn the_chores_of_the_readme_exist() {
    needs!(Need::Tool("cargo"));
    let text = std::fs::read_to_string(readme()).unwrap_or_else(|error| panic!("read the README: {error}"));
    let blocks = blocks_of(Kind::Chore);
    let in_blocks = blocks.iter().flat_map(Block::lines);
    let in_sentences = text.split('`').filter(|word| word.starts_with("cargo xtask "));
    for line in in_blocks.chain(in_sentences) {
        let Some(words) = line.strip_prefix("cargo xtask ") else { panic!("not a chore: {line}") };
        // What stands behind the dashes is not for the chore itself, and would swallow the flag.
        let own = words.split(" -- ").next().unwrap_or(words);
        let mut chore = Command::new("cargo");
        chore.arg("xtask").args(own.split(' ')).arg("--help").current_dir(shipped("."));
        let output = chore.output().unwrap_or_else(|error| panic!("run {line}: {error}"));
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_tests_that_the_readme_names_exist() {
    let own = std::env::current_exe().unwrap_or_else(|error| panic!("find this program: {error}"));
    let listed = Command::new(own).args(["--list", "--format", "terse"]).output();
    let listed = listed.unwrap_or_else(|error| panic!("list the tests: {error}")).stdout;
    let listed = String::from_utf8_lossy(&listed).into_owned();
    let text = std::fs::read_to_string(readme()).unwrap_or_else(|error| panic!("read the README: {error}"));
    let named: Vec<&str> = text.split('`').filter(|word| word.starts_with("invariant_")).collect();
    for number in 1..=9 {
        let prefix = format!("invariant_{number}_");
        assert!(
            named.iter().any(|name| name.starts_with(&prefix)),
            "no test is named for invariant {number}"
        );
    }
    for name in named {
        assert!(
            listed.lines().any(|line| line.ends_with(&format!("::{name}: test"))),
            "there is no test {name}"
        );
    }
}

#[test]
fn every_file_that_the_readme_links_to_is_there() {
    let text = std::fs::read_to_string(readme()).unwrap_or_else(|error| panic!("read the README: {error}"));
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for target in targets.filter(|target| !target.starts_with('#') && !target.contains("://")) {
        assert!(shipped(target).is_file(), "{target}");
    }
}
