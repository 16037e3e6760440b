//! Many workloads of one node in the kernel at once: what each costs, and what a successor takes over.
//!
//! Needs root. A BPF file system of the test's own is mounted where the machine's is, for its thread alone, and programs are
//! attached to cgroups and network namespaces that it made. Figures are printed (`--nocapture`); what is asserted holds on a busy
//! machine too.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use sidestep::datapath::{Datapath, Generation, NodeStage, Pins, Place, Stage};
use sidestep::model::Verdict;
use sidestep::policy::{Compiled, PortSpan};
use sidestep::sys::bpf;
use sidestep::sys::bpffs::Mounting;
use sidestep_abi::settings::Settings;
use sidestep_tests::{Need, cgroup, needs};

/// How many there are.
const WORKLOADS: usize = 60;
/// Descriptors that the kernel side of an idle workload holds.
const DESCRIPTORS: usize = 3;

/// A workload without a process.
struct Workload {
    name: String,
    cgroup: cgroup::Cgroup,
    network: File,
    listener: TcpListener,
}

impl Workload {
    fn new(number: usize) -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect("make a network namespace");
        let network = File::open("/proc/thread-self/ns/net").expect("open the namespace");
        // In a namespace whose loopback is down there is still an address to listen at.
        let listener = TcpListener::bind("0.0.0.0:0").expect("listen");
        Self { name: format!("shop.cart-{number}"), cgroup: cgroup::Cgroup::new(), network, listener }
    }

    fn place(&self) -> Place {
        let cgroup = || File::open(self.cgroup.path()).expect("open the cgroup");
        let inbound = Some(self.network.try_clone().expect("share the namespace"));
        Place { workload: cgroup(), handoff: cgroup(), inbound, foreign_proxy: None }
    }

    /// Serves it as an agent does.
    fn serve(&self, stage: &NodeStage) -> Datapath {
        let pins = Pins::open(&self.name, Mounting::Allowed).expect("open the pins");
        let mut datapath = Datapath::load(pins, Stage::Shared(stage)).expect("load");
        let adopting = datapath.tables.is_settled().expect("read the settings");
        if adopting {
            datapath.attach(&self.place()).expect("attach");
        }
        let rules = Compiled { default: Verdict::Proxy, prefixes: Vec::new() };
        let callers = Compiled { default: Verdict::Direct, prefixes: Vec::new() };
        let settings = Settings {
            instance_cgroup: 0,
            source4: 0,
            outbound4: 0,
            outbound4_mask: 0,
            source6: [0; 4],
            outbound4_port: 1,
            outbound6_ports: [0; 8],
            inbound_ports: [0; 2],
            tunnel_port: 0,
            default_verdict: 0,
            deny_errno: 111,
            on_failure: 0,
            settled: 0,
        };
        let generation = Generation {
            settings,
            rules: &rules,
            callers: &callers,
            captured_inbound: &[PortSpan::ALL],
            without_plain_text: &[],
        };
        datapath.tables.publish(&generation).expect("publish");
        datapath.put_listener(0, &self.listener).expect("put a listener");
        if !adopting {
            datapath.attach(&self.place()).expect("attach");
        }
        datapath.declare().expect("declare");
        datapath
    }

    /// The programs that are attached, by the kernel's ids.
    fn programs(&self) -> Vec<u32> {
        let links = Path::new("/sys/fs/bpf/sidestep").join(self.name.replace('.', ":")).join("links");
        let mut paths: Vec<_> =
            fs::read_dir(links).expect("list the links").flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let program = |path: &std::path::PathBuf| {
            let link = bpf::pinned(path).expect("open a link");
            bpf::link_target(&link).expect("ask about a link").program()
        };
        paths.iter().map(program).collect()
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("list the descriptors").count()
}

fn resident_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("read the status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("resident memory")
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// On a thread that sees a BPF file system of its own.
fn apart(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).expect("make a mount namespace");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("make mounts private");
        mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), none).expect("mount a bpffs");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn many_workloads_take_few_descriptors_and_a_successor_keeps_their_programs() {
    needs!(Need::Root, Need::Kernel(6, 1));
    apart(|| {
        let workloads: Vec<Workload> = (0..WORKLOADS).map(Workload::new).collect();
        let mut first = NodeStage::open(Mounting::Allowed).expect("open the stage");
        first.declare().expect("declare");
        let mut served = vec![workloads[0].serve(&first)];
        let (before, resident) = (descriptors(), resident_kib());
        let mut starts = Vec::new();
        for workload in &workloads[1..] {
            let start = Instant::now();
            served.push(workload.serve(&first));
            starts.push(start.elapsed());
        }
        let each = (descriptors() - before) / (WORKLOADS - 1);
        let kib = resident_kib().saturating_sub(resident) / (WORKLOADS - 1);
        println!("start {:?} (median), {each} descriptors and {kib} KiB each", median(starts));
        assert!(each <= DESCRIPTORS, "{each} descriptors each");

        let programs: Vec<Vec<u32>> = workloads.iter().map(Workload::programs).collect();
        let ownerships: Vec<_> = served.iter().map(Datapath::ownership).collect();
        let start = Instant::now();
        let mut second = NodeStage::open(Mounting::Allowed).expect("open the stage");
        second.declare().expect("declare");
        let successors: Vec<Datapath> = workloads.iter().map(|workload| workload.serve(&second)).collect();
        println!("{WORKLOADS} taken over in {:?}", start.elapsed());
        for (workload, before) in workloads.iter().zip(&programs) {
            assert_eq!(&workload.programs(), before, "{}: the programs stay", workload.name);
        }
        assert!(ownerships.iter().all(|ownership| !ownership.is_ours()), "all are the successor's");
        for predecessor in served {
            predecessor.remove().expect("leave what is the successor's");
        }
        for (workload, successor) in workloads.iter().zip(successors) {
            assert_eq!(workload.programs().len(), 9, "{}", workload.name);
            successor.remove().expect("remove");
        }
        first.remove().expect("leave what is the successor's");
        second.remove().expect("remove");
        assert!(!Path::new("/sys/fs/bpf/sidestep").exists(), "nothing stays");
    });
}
