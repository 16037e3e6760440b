//! The iptables capture with real rules, in network namespaces that each test makes and that end with it.
//!
//! Needs root and the iptables package. A test that cannot run says so, and fails where `SIDESTEP_MUST_RUN=1`.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use sidestep::model::Verdict;
use sidestep::netfilter::{self, Exempt, Found, InboundPlan, NetfilterError, Plan, Redirects, Scope};
use sidestep::policy::{DenyWith, PortSpan, Rule, Rules};
use socket2::{Domain, Socket, Type};

/// Mark of the sockets that stand for the instance's own.
const MARK: u32 = 0x51de;
/// How long anything may take on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether this process may make namespaces and rules.
fn can_run() -> bool {
    let missing = if !nix::unistd::geteuid().is_root() {
        "root"
    } else if Command::new("iptables-save").arg("--version").output().is_err() {
        "the iptables package"
    } else {
        return true;
    };
    assert!(
        std::env::var_os("SIDESTEP_MUST_RUN").is_none_or(|value| value != "1"),
        "this test needs {missing}"
    );
    eprintln!("SKIPPED: this test needs {missing}");
    false
}

/// Runs a command in the namespace of the calling thread.
fn shell(line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().expect(line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs `test` on a thread in a network namespace of its own, joined by a wire to that of a peer.
///
/// Here are 10.9.0.1 and fd09::1. The peer has 10.9.0.2, 10.9.0.3, fd09::2 and fd09::3 and answers on ports 80 and 81
/// of all of them with the address that was dialled, and connects to us when told to.
fn in_namespace(test: impl FnOnce(&Peer) + Send + 'static) {
    if !can_run() {
        return;
    }
    let here = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        let peer = Peer::start();
        test(&peer);
    });
    if let Err(panic) = here.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A thread in the namespace at the other end of the wire.
struct Peer {
    requests: mpsc::Sender<(SocketAddr, mpsc::Sender<io::Result<String>>)>,
}

impl Peer {
    fn start() -> Self {
        let (ready, tid) = mpsc::channel();
        let (requests, inbox) = mpsc::channel::<(SocketAddr, mpsc::Sender<io::Result<String>>)>();
        let (wired, wire) = mpsc::channel();
        let (served, serving) = mpsc::channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
            ready.send(nix::unistd::gettid()).expect("told");
            wire.recv().expect("a wire");
            configure("peer", &["10.9.0.2/24", "10.9.0.3/24", "fd09::2/64", "fd09::3/64"]);
            for port in [80, 81] {
                let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).expect("a listener");
                thread::spawn(move || {
                    listener.incoming().flatten().for_each(|stream| answer(stream, "peer"));
                });
            }
            served.send(()).expect("told");
            for (address, reply) in inbox {
                reply.send(ask(address)).expect("told");
            }
        });
        let tid = tid.recv().expect("a thread");
        shell(&format!("ip link add here type veth peer name peer netns {tid}"));
        wired.send(()).expect("told");
        configure("here", &["10.9.0.1/24", "fd09::1/64"]);
        serving.recv().expect("a peer that serves");
        Self { requests }
    }

    /// Lets the peer connect to us, and returns what it was told.
    fn ask(&self, address: &str) -> io::Result<String> {
        let (reply, answer) = mpsc::channel();
        self.requests.send((address.parse().expect("an address"), reply)).expect("a peer");
        answer.recv_timeout(PATIENCE).expect("an answer")
    }
}

/// Gives a device its addresses.
fn configure(device: &str, addresses: &[&str]) {
    shell("ip link set lo up");
    for address in addresses {
        let dad = if address.contains(':') { "nodad" } else { "" };
        shell(&format!("ip addr add {address} dev {device} {dad}"));
    }
    shell(&format!("ip link set {device} up"));
}

/// Tells the other side who answers and which address it dialled.
fn answer(mut stream: TcpStream, who: &str) {
    let local = stream.local_addr().expect("an address");
    let dialled = SocketAddr::new(local.ip().to_canonical(), local.port());
    // Whoever connected may have left again.
    let _: io::Result<()> = stream.write_all(format!("{who} {dialled}").as_bytes());
}

/// Connects and reads who answers.
fn ask(address: SocketAddr) -> io::Result<String> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    read(stream)
}

fn read(mut stream: TcpStream) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

fn dial(address: &str) -> io::Result<String> {
    let address: SocketAddr = address.parse().expect("an address");
    // A device takes a moment to be able to carry IPv6.
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask(address) {
            Err(error) if is_not_ready(&error) && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(20));
            }
            outcome => return outcome,
        }
    }
}

fn is_not_ready(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable)
}

/// An instance: says of each connection it accepts where it wanted to go.
fn instance() -> u16 {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let original = netfilter::original_destination(stream.as_fd()).expect("an answer");
            let told = original.map_or("nothing".to_owned(), |original| original.to_string());
            let _: io::Result<()> = stream.write_all(format!("instance {told}").as_bytes());
        }
    });
    port
}

fn rules(default: Verdict, list: &[(Verdict, &str)]) -> Rules {
    let rule = |&(verdict, text): &(Verdict, &str)| Rule { verdict, target: text.parse().expect("a target") };
    Rules { default, list: list.iter().map(rule).collect() }
}

fn plan(rules: &Rules, port: u16) -> Plan {
    Plan {
        outbound_port: port,
        outbound6_port: Some(port),
        inbound: None,
        rules: rules.compile().expect("good rules"),
        scope: Scope::Namespace { exempt: Exempt::Mark(MARK) },
        own_addresses: Vec::new(),
        deny_with: DenyWith::Refused,
    }
}

fn install(plan: &Plan) -> Redirects {
    netfilter::install(plan).unwrap_or_else(|error| panic!("{error}"))
}

/// Everything in the tables of this namespace.
fn saved() -> String {
    ["iptables-save", "ip6tables-save"]
        .map(|program| {
            let output = Command::new(program).output().expect(program);
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
        .concat()
}

#[test]
fn each_verdict_holds_for_both_families() {
    in_namespace(|_| {
        let rules = rules(
            Verdict::Proxy,
            &[
                (Verdict::Deny, "10.9.0.2/32:81"),
                (Verdict::Deny, "[fd09::2]:81"),
                (Verdict::Direct, "10.9.0.3"),
                (Verdict::Direct, "fd09::3"),
            ],
        );
        let redirects = install(&plan(&rules, instance()));
        assert_eq!(dial("10.9.0.2:80").expect("captured"), "instance 10.9.0.2:80");
        assert_eq!(dial("[fd09::2]:80").expect("captured"), "instance [fd09::2]:80");
        assert_eq!(dial("10.9.0.3:80").expect("direct"), "peer 10.9.0.3:80");
        assert_eq!(dial("[fd09::3]:81").expect("direct"), "peer [fd09::3]:81");
        for denied in ["10.9.0.2:81", "[fd09::2]:81"] {
            let began = Instant::now();
            let error = dial(denied).expect_err(denied);
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{denied}");
            assert!(began.elapsed() < Duration::from_secs(1), "{denied} took {:?}", began.elapsed());
        }
        redirects.remove().expect("removed");
        assert_eq!(dial("10.9.0.2:81").expect("direct"), "peer 10.9.0.2:81");
    });
}

#[test]
fn loopback_and_own_addresses_pass() {
    in_namespace(|_| {
        let listener = TcpListener::bind("[::]:8080").expect("a listener");
        thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, "here")));
        for default in [Verdict::Proxy, Verdict::Deny] {
            let _redirects = install(&plan(&Rules::only(default), instance()));
            for own in ["127.0.0.1:8080", "10.9.0.1:8080", "[::1]:8080", "[fd09::1]:8080"] {
                assert_eq!(dial(own).expect(own), format!("here {own}"));
            }
        }
    });
}

#[test]
fn the_instances_own_connections_pass() {
    in_namespace(|_| {
        let _redirects = install(&plan(&Rules::only(Verdict::Proxy), instance()));
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_mark(MARK).expect("a mark");
        let address: SocketAddr = "10.9.0.2:80".parse().expect("an address");
        socket.connect(&address.into()).expect("connected");
        assert_eq!(read(socket.into()).expect("an answer"), "peer 10.9.0.2:80");
        assert_eq!(dial("10.9.0.2:80").expect("captured"), "instance 10.9.0.2:80");
    });
}

#[test]
fn a_dead_instance_means_refused_and_not_direct() {
    in_namespace(|_| {
        let closed =
            TcpListener::bind("[::]:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let _redirects = install(&plan(&Rules::only(Verdict::Proxy), closed));
        for address in ["10.9.0.2:80", "[fd09::2]:80"] {
            assert_eq!(
                dial(address).expect_err(address).kind(),
                io::ErrorKind::ConnectionRefused,
                "{address}"
            );
        }
    });
}

#[test]
fn without_an_ipv6_listener_ipv6_is_refused_and_not_direct() {
    in_namespace(|_| {
        let plan = Plan { outbound6_port: None, ..plan(&Rules::only(Verdict::Proxy), instance()) };
        let _redirects = install(&plan);
        assert_eq!(dial("10.9.0.2:80").expect("captured"), "instance 10.9.0.2:80");
        assert_eq!(dial("[fd09::2]:80").expect_err("refused").kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn inbound_connections_to_captured_ports_are_captured() {
    in_namespace(|peer| {
        let port = instance();
        let listener = TcpListener::bind("[::]:9090").expect("a listener");
        thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, "here")));
        let ports = vec![PortSpan { first: 8000, last: 8100 }];
        let inbound = Some(InboundPlan { port, port6: Some(port), ports, tunnel: None });
        let _redirects = install(&Plan { inbound, ..plan(&Rules::only(Verdict::Direct), port) });
        // Nobody listens at 8080 but for the capture.
        assert_eq!(peer.ask("10.9.0.1:8080").expect("captured"), "instance 10.9.0.1:8080");
        assert_eq!(peer.ask("[fd09::1]:8080").expect("captured"), "instance [fd09::1]:8080");
        assert_eq!(peer.ask("10.9.0.1:9090").expect("direct"), "here 10.9.0.1:9090");
        assert_eq!(dial("10.9.0.1:8080").expect_err("own address").kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_connection_that_was_not_redirected_has_no_original_but_the_listener_itself() {
    in_namespace(|_| {
        let port = instance();
        let told = dial(&format!("127.0.0.1:{port}")).expect("an answer");
        assert!(told == "instance nothing" || told == format!("instance 127.0.0.1:{port}"), "{told}");
    });
}

#[test]
fn a_cgroup_is_captured_and_what_is_outside_is_not() {
    in_namespace(|_| {
        let Some(cgroup) = Cgroup::new("sidestep-netfilter-test") else { return };
        let port = instance();
        let direct = format!("peer {}", "10.9.0.2:80");
        let captured = format!("instance {}", "10.9.0.2:80");

        let inside_only = Scope::Cgroup(cgroup.name.clone());
        let redirects = install(&Plan { scope: inside_only, ..plan(&Rules::only(Verdict::Proxy), port) });
        assert_eq!(cgroup.dial("10.9.0.2/80"), captured);
        assert_eq!(dial("10.9.0.2:80").expect("direct"), direct);
        redirects.remove().expect("removed");

        let all_but = Scope::Namespace { exempt: Exempt::Cgroup(cgroup.name.clone()) };
        let redirects = install(&Plan { scope: all_but, ..plan(&Rules::only(Verdict::Proxy), port) });
        assert_eq!(cgroup.dial("10.9.0.2/80"), direct);
        assert_eq!(dial("10.9.0.2:80").expect("captured"), captured);

        // The cgroup may go first.
        drop(cgroup);
        redirects.remove().expect("removed");
        assert!(!saved().contains("SIDESTEP"));
    });
}

#[test]
fn rules_change_while_they_are_in_place() {
    in_namespace(|_| {
        let port = instance();
        let deny = rules(Verdict::Proxy, &[(Verdict::Deny, "10.9.0.0/24")]);
        let redirects = install(&plan(&deny, port));
        assert_eq!(dial("10.9.0.2:80").expect_err("denied").kind(), io::ErrorKind::ConnectionRefused);
        redirects.update(&plan(&Rules::only(Verdict::Direct), port)).expect("changed");
        assert_eq!(dial("10.9.0.2:80").expect("direct"), "peer 10.9.0.2:80");
        redirects.update(&plan(&Rules::only(Verdict::Proxy), port)).expect("changed");
        assert_eq!(dial("10.9.0.2:80").expect("captured"), "instance 10.9.0.2:80");
        redirects.update(&plan(&deny, port)).expect("changed");
        assert_eq!(dial("10.9.0.2:80").expect_err("denied").kind(), io::ErrorKind::ConnectionRefused);
        assert!(!saved().contains("SIDESTEP_NEXT"), "{}", saved());
    });
}

#[test]
fn what_is_removed_is_all_that_was_put() {
    in_namespace(|_| {
        shell("iptables -t nat -A OUTPUT -p tcp --dport 1 -j RETURN");
        let others =
            || saved().lines().filter(|line| line.starts_with("-A")).map(str::to_owned).collect::<Vec<_>>();
        let before = others();
        let plan = plan(&Rules::only(Verdict::Proxy), instance());

        let redirects = install(&plan);
        assert_eq!(netfilter::find().expect("an answer"), Found::Rules);
        redirects.remove().expect("removed");
        assert_eq!(others(), before);

        drop(install(&plan));
        assert_eq!(others(), before, "dropping removes, too");
        assert_eq!(netfilter::remove().expect("nothing to do"), Found::Nothing);
    });
}

#[test]
fn leftovers_of_a_dead_process_are_replaced_and_those_of_a_living_one_are_not() {
    in_namespace(|_| {
        let plan = plan(&Rules::only(Verdict::Proxy), instance());
        // A process that is gone leaves chains and jumps, but holds no lock.
        let redirects = install(&plan);
        let left = saved();
        assert!(matches!(netfilter::install(&plan), Err(NetfilterError::Taken)));
        assert!(matches!(netfilter::remove(), Err(NetfilterError::Taken)));
        redirects.remove().expect("removed");
        let path = std::env::temp_dir().join(format!("sidestep-netfilter-{}", nix::unistd::gettid()));
        fs::write(&path, left.split_inclusive("# Completed").take(2).collect::<String>()).expect("written");
        shell(&format!("iptables-restore --noflush {}", path.display()));
        fs::remove_file(&path).expect("removed");
        assert_eq!(netfilter::find().expect("an answer"), Found::Rules);

        let redirects = install(&plan);
        assert_eq!(dial("10.9.0.2:80").expect("captured"), "instance 10.9.0.2:80");
        let jumps = saved().lines().filter(|line| line.ends_with("-j SIDESTEP_OUT")).count();
        assert_eq!(jumps, 2, "one per family: {}", saved());
        redirects.remove().expect("removed");
        assert!(!saved().contains("SIDESTEP"));
    });
}

/// A cgroup that commands can be run in.
struct Cgroup {
    name: String,
    path: PathBuf,
}

impl Cgroup {
    /// Makes one directly below the root, or says that it cannot.
    fn new(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let root =
            mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
        let Some(root) = root else {
            assert!(std::env::var_os("SIDESTEP_MUST_RUN").is_none_or(|value| value != "1"), "no cgroup2");
            eprintln!("SKIPPED: this test needs cgroup2");
            return None;
        };
        let name = format!("{name}-{}", nix::unistd::gettid());
        let path = PathBuf::from(root).join(&name);
        fs::create_dir(&path).expect("a cgroup");
        Some(Self { name, path })
    }

    /// Connects from inside, in the namespace of the calling thread, to `address/port`.
    fn dial(&self, address: &str) -> String {
        let script = format!(
            "echo $$ > {}/cgroup.procs && exec 3<>/dev/tcp/{address} && cat <&3",
            self.path.display()
        );
        let output = Command::new("bash").args(["-c", &script]).output().expect("bash");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Those who were in it may take a moment to be gone.
        let deadline = Instant::now() + PATIENCE;
        while fs::remove_dir(&self.path).is_err() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
    }
}
