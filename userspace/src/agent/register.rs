//! What this process serves: one entry for each workload, from before it is captured until it is gone.
//!
//! Whoever asks at the admin socket or for the metrics is answered from here. It decides nothing, and keeps no instance alive.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::SystemTime;

use serde_json::Value;

use crate::admin::Readiness;
use crate::identity::Certificates;
use crate::lasting;
use crate::proxy::Instance;
use crate::telemetry::{Instances, Outlets, ProcessRow, Telemetry};

/// How a process serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serves {
    /// One command.
    Command,
    /// The pod around it.
    Pod,
    /// The pods of a node.
    Node,
}

impl Serves {
    /// The command that it was started with.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Command => "run",
            Self::Pod => "sidecar",
            Self::Node => "node",
        }
    }
}

/// A workload that is served.
pub(super) struct Entry {
    /// Its proxy.
    pub(super) instance: Weak<Instance>,
    /// Who it proves to be, if it proves anything.
    pub(super) certificates: Option<Arc<Certificates>>,
    /// What is counted of it; its name is that of the entry.
    pub(super) telemetry: Arc<Telemetry>,
    /// Since when it is served.
    pub(super) since: SystemTime,
    /// How far it is.
    pub(super) readiness: Readiness,
    /// Its addresses, as far as they are known.
    pub(super) addresses: Vec<IpAddr>,
    /// Its cgroup, if it is captured by that.
    pub(super) cgroup: Option<PathBuf>,
    /// The configuration that is in force, without what is secret.
    pub(super) config: Box<dyn Fn() -> Value + Send + Sync>,
}

/// The workloads that this process serves.
pub(super) struct Register {
    pub(super) serves: Serves,
    pub(super) started: SystemTime,
    entries: RwLock<BTreeMap<String, Arc<Entry>>>,
    metrics: Arc<Instances>,
    outlets: Arc<Outlets>,
}

impl Register {
    /// One without entries.
    pub(super) fn new(serves: Serves) -> Arc<Self> {
        let (entries, metrics, outlets) = (RwLock::default(), Arc::<Instances>::default(), Arc::default());
        metrics.add_source(Arc::new(|| vec![ProcessRow::Panics(lasting::all())]));
        Arc::new(Self { serves, started: SystemTime::now(), entries, metrics, outlets })
    }

    /// Adds a workload, in place of one of that name.
    pub(super) fn add(&self, entry: Entry) {
        self.metrics.register(&entry.telemetry);
        let name = entry.telemetry.own().name.clone();
        self.entries.write().unwrap_or_else(PoisonError::into_inner).insert(name, Arc::new(entry));
    }

    /// Forgets a workload, unless another one has taken its name.
    pub(super) fn remove(&self, telemetry: &Arc<Telemetry>) {
        let name = &telemetry.own().name;
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.get(name).is_some_and(|entry| Arc::ptr_eq(&entry.telemetry, telemetry)) {
            entries.remove(name);
            self.metrics.remove(name);
        }
    }

    /// Every workload with its name, in the order of their names.
    pub(super) fn all(&self) -> Vec<(String, Arc<Entry>)> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|(name, entry)| (name.clone(), Arc::clone(entry))).collect()
    }

    /// The workload of that name.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// What is counted of all of them.
    pub(super) const fn metrics(&self) -> &Arc<Instances> {
        &self.metrics
    }

    /// Where all of them are told of.
    pub(super) const fn outlets(&self) -> &Arc<Outlets> {
        &self.outlets
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::telemetry::Own;

    /// An entry of that name without an instance.
    pub(in super::super) fn entry(register: &Register, name: &str) -> Entry {
        let telemetry = Telemetry::new(Own::named(name), Arc::clone(register.outlets()));
        Entry {
            instance: Weak::new(),
            certificates: None,
            telemetry: Arc::new(telemetry.expect("a name that labels can have")),
            since: SystemTime::UNIX_EPOCH,
            readiness: Readiness::default(),
            addresses: vec![IpAddr::from([10, 0, 0, 7])],
            cgroup: None,
            config: Box::new(|| json!({})),
        }
    }

    #[test]
    fn whoever_takes_a_name_is_not_forgotten_with_the_one_before() {
        let register = Register::new(Serves::Node);
        let [first, second] = ["shop/web-1"; 2].map(|name| entry(&register, name));
        let [old, new] = [&first, &second].map(|entry| Arc::clone(&entry.telemetry));
        register.add(first);
        register.add(second);
        register.remove(&old);
        assert!(register.find("shop/web-1").is_some_and(|entry| Arc::ptr_eq(&entry.telemetry, &new)));
        assert!(register.metrics().exposition_of("shop/web-1").is_some());
        register.remove(&new);
        assert!(register.all().is_empty() && register.metrics().exposition_of("shop/web-1").is_none());
    }
}
