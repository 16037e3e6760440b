//! What a runtime runs for every pod: reads what is asked for, asks the agent, and says what the specification has a plugin
//! say.
//!
//! It changes no network itself, and hands on what the plugins before it have done as it found it. Where the agent cannot be
//! asked, [`OnFailure`] says what becomes of an ADD; a DEL never fails for it, so that pods can always end.

use std::error::Error;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::call::{Container, Environment, Verb};
use super::client::{self, Unanswered};
use super::fault::{Code, Fault};
use super::network::{NEWEST, Network, OnFailure, VERSIONS};
use super::wire::{Answer, Named, Request, Subject};
use super::{PLUGIN, RefusalKind};

/// Most bytes of a network configuration.
const LARGEST: u64 = 4 << 20;

/// Whether this process was started as the plugin: a runtime gives no arguments, only the name.
#[must_use]
pub fn is_called(program: &OsStr) -> bool {
    Path::new(program).file_name().is_some_and(|name| name == PLUGIN)
}

/// Does what the runtime asks for by environment and standard input.
#[must_use]
pub fn main() -> ExitCode {
    let said = run(&|name| std::env::var(name).ok(), &mut io::stdin().lock());
    for note in &said.notes {
        eprintln!("{PLUGIN}: {note}");
    }
    let printed = match &said.out {
        Some(out) => writeln!(io::stdout().lock(), "{out}"),
        None => Ok(()),
    };
    if said.failed || printed.is_err() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What the plugin says.
#[derive(Debug, Default)]
struct Said {
    /// One line on standard output.
    out: Option<Value>,
    /// Lines on standard error, which runtimes keep in their logs.
    notes: Vec<String>,
    failed: bool,
}

fn run(environment: Environment<'_>, input: &mut dyn Read) -> Said {
    let mut said = Said::default();
    let mut version = NEWEST.to_owned();
    let outcome = perform(environment, input, &mut version, &mut said.notes);
    said.failed = outcome.is_err();
    said.out = outcome.unwrap_or_else(|fault| Some(fault.told(&version)));
    said
}

fn perform(
    environment: Environment<'_>,
    input: &mut dyn Read,
    version: &mut String,
    notes: &mut Vec<String>,
) -> Result<Option<Value>, Fault> {
    let verb = Verb::read(environment)?;
    if verb == Verb::Version {
        return Ok(Some(json!({ "cniVersion": NEWEST, "supportedVersions": VERSIONS })));
    }
    let mut text = Vec::new();
    input.take(LARGEST).read_to_end(&mut text).map_err(|error| {
        Fault::new(Code::Io, format!("read the network configuration from standard input: {error}"))
    })?;
    let network = Network::read(&text)?;
    version.clone_from(&network.version);
    match verb {
        Verb::Add => add(&network, &Container::read(environment)?, notes).map(Some),
        Verb::Check => check(&network, &Container::read(environment)?),
        Verb::Delete => {
            delete(&network, &Container::read(environment)?, notes);
            Ok(None)
        }
        Verb::Gc => collect(&network, notes),
        Verb::Status => status(&network),
        Verb::Version => Ok(None),
    }
}

fn add(network: &Network, container: &Container, notes: &mut Vec<String>) -> Result<Value, Fault> {
    let handed_on = network.previous()?.clone();
    let subject = subject(network, container)?;
    if subject.pod.is_none() {
        notes.push("no pod of Kubernetes: CNI_ARGS names none".to_owned());
        return Ok(handed_on);
    }
    let netns = open(container)?;
    let pod = subject.pod.clone();
    let failed = match ask(network, &Request::Add(subject), Some(&netns)) {
        Ok(Answer::Done) => return Ok(handed_on),
        Ok(Answer::Refused(refusal)) if refusal.kind != RefusalKind::TryAgain => return Err(refusal.into()),
        Ok(Answer::Refused(refusal)) => refusal.into(),
        Err(unanswered) => explain(network, &unanswered),
    };
    match network.settings.on_failure {
        OnFailure::Closed => Err(failed),
        OnFailure::Open => {
            let pod = pod.map(|pod| format!("{}/{}", pod.namespace, pod.name)).unwrap_or_default();
            notes.push(format!("{pod} starts without capture (on-failure: open): {}", failed.message));
            Ok(handed_on)
        }
    }
}

fn check(network: &Network, container: &Container) -> Result<Option<Value>, Fault> {
    network.at_least("0.4.0", "CHECK")?;
    network.previous()?;
    let subject = subject(network, container)?;
    if subject.pod.is_none() {
        return Ok(None);
    }
    let netns = open(container)?;
    answered(network, ask(network, &Request::Check(subject), Some(&netns)))
}

fn delete(network: &Network, container: &Container, notes: &mut Vec<String>) {
    // Whatever went before is of no use to a pod that ends.
    let subject = Subject { addresses: Vec::new(), ..described(network, container) };
    match ask(network, &Request::Delete(subject), None) {
        Ok(Answer::Done) => {}
        Ok(Answer::Refused(refusal)) => notes.push(refusal.message),
        // The agent finds out by itself that the pod has gone.
        Err(unanswered) => notes.push(explain(network, &unanswered).message),
    }
}

fn collect(network: &Network, notes: &mut Vec<String>) -> Result<Option<Value>, Fault> {
    network.at_least("1.1.0", "GC")?;
    let valid = network.valid.clone().ok_or_else(|| {
        Fault::new(Code::InvalidConfiguration, "expected cni.dev/valid-attachments, found none")
    })?;
    match ask(network, &Request::Gc { network: network.name.clone(), valid }, None) {
        // An agent that starts looks for itself which pods are there.
        Err(unanswered) => {
            notes.push(explain(network, &unanswered).message);
            Ok(None)
        }
        answer => answered(network, answer),
    }
}

fn status(network: &Network) -> Result<Option<Value>, Fault> {
    network.at_least("1.1.0", "STATUS")?;
    let outcome = answered(network, ask(network, &Request::Status, None));
    match network.settings.on_failure {
        OnFailure::Closed => outcome.map_err(|fault| Fault { code: Code::Unavailable, ..fault }),
        OnFailure::Open => Ok(None),
    }
}

fn ask(network: &Network, request: &Request, netns: Option<&File>) -> Result<Answer, Unanswered> {
    let settings = &network.settings;
    client::ask(&settings.agent_socket, request, netns.map(File::as_fd), settings.timeout)
}

fn answered(network: &Network, answer: Result<Answer, Unanswered>) -> Result<Option<Value>, Fault> {
    match answer {
        Ok(Answer::Done) => Ok(None),
        Ok(Answer::Refused(refusal)) => Err(refusal.into()),
        Err(unanswered) => Err(explain(network, &unanswered)),
    }
}

/// What a person reads in the events of a pod that does not start.
fn explain(network: &Network, unanswered: &Unanswered) -> Fault {
    let socket = network.settings.agent_socket.display();
    let cause = unanswered.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    let message =
        format!("{unanswered} at {socket}{cause}; look at the pods of Sidestep's DaemonSet on this node");
    Fault::new(Code::TryAgainLater, message)
}

fn subject(network: &Network, container: &Container) -> Result<Subject, Fault> {
    Ok(Subject { addresses: network.addresses()?, ..described(network, container) })
}

/// A container, without its addresses.
fn described(network: &Network, container: &Container) -> Subject {
    let names = container.names.clone();
    let namespace = names.namespace.or_else(|| network.settings.pod_namespace.clone());
    Subject {
        id: container.id.clone(),
        network: network.name.clone(),
        netns_path: container.netns.clone(),
        pod: namespace.zip(names.pod).map(|(namespace, name)| Named { namespace, name }),
        uid: names.uid,
        addresses: Vec::new(),
    }
}

/// The pod's network namespace.
fn open(container: &Container) -> Result<File, Fault> {
    let path = container.netns()?;
    File::open(path).map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::NotFound => Code::UnknownContainer,
            _ => Code::Io,
        };
        Fault::new(code, format!("open the network namespace {}: {error}", path.display()))
    })
}

#[cfg(test)]
mod tests;
