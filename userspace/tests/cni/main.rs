//! The plugin's binary as a runtime calls it, against an agent's socket in this process.
//!
//! Needs root in the machine's own namespaces, as a runtime has it. A test that cannot run says so, and fails where
//! `SIDESTEP_MUST_RUN=1`.

mod hostile;
mod installer;
mod requests;
mod strangers;
mod successor;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use sidestep::cni::server::{self, Outcome, Serving};
use sidestep::cni::{Answered, Attachment, AttachmentId, Detached, Enrol, Refusal};
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// How long anything may take on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether this process is root of the machine, and has what a test needs besides.
fn can_run(program: Option<&str>) -> bool {
    let missing = if !nix::unistd::geteuid().is_root() {
        "root".to_owned()
    } else if let Some(program) =
        program.filter(|program| Command::new(program).arg("--version").output().is_err())
    {
        format!("the program {program}")
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

/// An agent that has every pod enrolled, if and when the test lets it, and writes down what it was asked.
struct Agent {
    journal: Mutex<Vec<String>>,
    /// What is added or deleted takes one of these.
    allowed: Semaphore,
    refusal: Mutex<Option<Refusal>>,
    attachments: Mutex<Vec<Attachment>>,
}

impl Agent {
    fn new(allowed: usize) -> Arc<Self> {
        Arc::new(Self {
            journal: Mutex::default(),
            allowed: Semaphore::new(allowed),
            refusal: Mutex::default(),
            attachments: Mutex::default(),
        })
    }

    fn ready() -> Arc<Self> {
        Self::new(Semaphore::MAX_PERMITS / 2)
    }

    fn write(&self, entry: String) {
        self.journal.lock().expect("whole").push(entry);
    }

    fn journal(&self) -> Vec<String> {
        self.journal.lock().expect("whole").clone()
    }

    fn outcome(&self) -> Result<(), Refusal> {
        self.refusal.lock().expect("whole").clone().map_or(Ok(()), Err)
    }

    async fn work(&self, what: String) -> Result<(), Refusal> {
        self.write(format!("begins {what}"));
        if let Ok(permit) = self.allowed.acquire().await {
            permit.forget();
        }
        self.write(format!("ends {what}"));
        self.outcome()
    }
}

impl Enrol for Agent {
    fn add(&self, attachment: Attachment) -> Answered<'_> {
        let what = format!("ADD {} {}", attachment.id.container_id, attachment.pod);
        Box::pin(async move {
            let outcome = self.work(what).await;
            self.attachments.lock().expect("whole").push(attachment);
            outcome
        })
    }

    fn delete(&self, gone: Detached) -> Answered<'_> {
        let pod = gone.pod.map_or_else(|| "?".to_owned(), |pod| pod.to_string());
        Box::pin(self.work(format!("DEL {} {pod}", gone.id.container_id)))
    }

    fn check(&self, attachment: Attachment) -> Answered<'_> {
        self.write(format!("CHECK {}", attachment.id.container_id));
        Box::pin(std::future::ready(self.outcome()))
    }

    fn gc(&self, network: String, valid: BTreeSet<AttachmentId>) -> Answered<'_> {
        let valid: Vec<String> = valid.into_iter().map(|id| id.container_id).collect();
        self.write(format!("GC {network} {}", valid.join(",")));
        Box::pin(std::future::ready(self.outcome()))
    }

    fn status(&self) -> Answered<'_> {
        self.write("STATUS".to_owned());
        Box::pin(std::future::ready(self.outcome()))
    }
}

/// A node with the plugin on it.
struct Node {
    home: TempDir,
    runtime: tokio::runtime::Runtime,
    /// Further members of the plugin's entry.
    entry: Value,
}

/// What the plugin has said.
#[derive(Debug)]
struct Said {
    done: bool,
    out: Value,
    notes: String,
}

impl Node {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        symlink(env!("CARGO_BIN_EXE_sidestep"), home.path().join("sidestep-cni")).expect("linked");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        Self { home, runtime: runtime.expect("a runtime"), entry: json!({}) }
    }

    fn socket(&self) -> PathBuf {
        self.home.path().join("run/agent.sock")
    }

    fn serve(&self, agent: &Arc<Agent>) -> Serving {
        let _within = self.runtime.enter();
        server::serve(&self.socket(), Arc::clone(agent) as Arc<dyn Enrol>).expect("it listens")
    }

    /// What stands on the plugin's standard input.
    fn network(&self) -> Value {
        let mut network = json!({
            "cniVersion": "1.1.0", "name": "pods", "type": "sidestep-cni", "agent-socket": self.socket(),
            "timeout": "20s", "cni.dev/valid-attachments": [{ "containerID": "c1", "ifname": "eth0" }],
            "prevResult": { "cniVersion": "1.1.0", "ips": [{ "address": "10.0.0.7/24" }], "unknown": [1] },
        });
        if let (Some(network), Some(entry)) = (network.as_object_mut(), self.entry.as_object()) {
            network.extend(entry.clone());
        }
        network
    }

    /// A command that calls the plugin, perhaps with another program before it.
    fn command(&self, before: &[&str], verb: &str, container: &str, netns: Option<&Netns>) -> Command {
        let plugin = self.home.path().join("sidestep-cni");
        let mut command = match before {
            [] => Command::new(plugin),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(plugin);
                command
            }
        };
        command
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", container)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", netns.map(Netns::path).unwrap_or_default())
            .env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=u-1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, mut command: Command) -> Said {
        let mut child = command.spawn().expect("started");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(self.network().to_string().as_bytes()).expect("written");
        drop(stdin);
        let output = child.wait_with_output().expect("ended");
        let out = String::from_utf8(output.stdout).expect("text");
        Said {
            done: output.status.success(),
            out: if out.is_empty() { Value::Null } else { serde_json::from_str(&out).expect(&out) },
            notes: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn call(&self, verb: &str, container: &str, netns: Option<&Netns>) -> Said {
        self.run(self.command(&[], verb, container, netns))
    }
}

/// A network namespace that lives as long as this does, or somebody else who has it.
struct Netns(File);

impl Netns {
    fn new() -> Self {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
            File::open("/proc/thread-self/ns/net").expect("its own")
        });
        Self(made.join().expect("made"))
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    fn inode(&self) -> u64 {
        self.0.metadata().expect("metadata").ino()
    }
}

fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < deadline, "expected that {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn counted(serving: &Serving) -> Vec<(String, u64)> {
    let outcomes = serving.outcomes();
    let counts = Outcome::all()
        .map(|outcome| (format!("{} {}", outcome.command(), outcome.word()), outcomes.of(outcome)));
    counts.filter(|(_, count)| *count > 0).collect()
}
