//! What the server holds: objects, and the history of their changes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::kind::{Kind, named};
use super::selector::Selector;

/// A way of failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every request is answered with this status.
    Status(u16),
    /// Every watch is told that its version is too old, at once.
    Gone,
    /// Every watch begins, and then nothing comes and it does not end.
    Stall,
    /// Every watch gets a line that is no JSON first.
    Garbage,
}

/// One change.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    kind: &'static Kind,
    before: Option<Value>,
    after: Option<Value>,
}

impl Change {
    /// What a watcher of these objects is told of it.
    pub(super) fn event(&self, kind: &Kind, namespace: Option<&str>, selector: &Selector) -> Option<Value> {
        let sees = |object: &&Value| {
            self.kind == kind
                && namespace.is_none_or(|namespace| object["metadata"]["namespace"] == namespace)
                && selector.selects(object)
        };
        let (before, after) = (self.before.as_ref().filter(sees), self.after.as_ref().filter(sees));
        let (word, object) = match (before, after) {
            (None, None) => return None,
            (None, Some(object)) => ("ADDED", object.clone()),
            (Some(_), Some(object)) => ("MODIFIED", object.clone()),
            (Some(last), None) => {
                let mut last = last.clone();
                last["metadata"]["resourceVersion"] = json!(self.version.to_string());
                ("DELETED", last)
            }
        };
        Some(json!({ "type": word, "object": object }))
    }
}

type Name = (String, String);

/// What the server holds.
#[derive(Debug, Default)]
pub(super) struct Store {
    objects: BTreeMap<&'static str, BTreeMap<Name, Value>>,
    history: Vec<Change>,
    version: u64,
    compacted: u64,
    missing: BTreeSet<&'static str>,
}

impl Store {
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn put(&mut self, mut object: Value) -> Result<Value, String> {
        let kind = object["kind"].as_str().and_then(named).ok_or("it has no kind that is known here")?;
        object["apiVersion"] = match kind.group {
            "" => json!(kind.version),
            group => json!(format!("{group}/{}", kind.version)),
        };
        let name = object["metadata"]["name"].as_str().ok_or("it has no name")?.to_owned();
        let namespace = if kind.namespaced {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
            object["metadata"]["namespace"] = json!(namespace);
            namespace
        } else {
            String::new()
        };
        self.version += 1;
        let version = self.version;
        let objects = self.objects.entry(kind.plural).or_default();
        let before = objects.get(&(namespace.clone(), name.clone())).cloned();
        let last = before.as_ref().map_or(&Value::Null, |before| &before["metadata"]);
        let inherited = |field: &str, new: Value| match (&object["metadata"][field], &last[field]) {
            (Value::Null, Value::Null) => new,
            (Value::Null, last) => last.clone(),
            (given, _) => given.clone(),
        };
        let uid =
            inherited("uid", json!(format!("{:08x}-0000-4000-8000-{version:012x}", std::process::id())));
        let created = inherited("creationTimestamp", json!(timestamp(version)));
        let same = before.as_ref().is_some_and(|before| before["spec"] == object["spec"]);
        let generation = last["generation"].as_u64().unwrap_or(0) + u64::from(!same);
        let metadata = &mut object["metadata"];
        metadata["uid"] = uid;
        metadata["creationTimestamp"] = created;
        metadata["generation"] = json!(generation);
        metadata["resourceVersion"] = json!(version.to_string());
        objects.insert((namespace, name), object.clone());
        self.history.push(Change { version, kind, before, after: Some(object.clone()) });
        Ok(object)
    }

    pub(super) fn put_status(&mut self, object: Value) -> Result<Value, String> {
        let kind = object["kind"].as_str().and_then(named);
        let (namespace, name) = (&object["metadata"]["namespace"], &object["metadata"]["name"]);
        let there = kind.zip(namespace.as_str().zip(name.as_str())).and_then(|(kind, (namespace, name))| {
            self.get(kind, namespace, name)
                .filter(|there| there["metadata"]["uid"] == object["metadata"]["uid"])
        });
        let Some(there) = there else { return self.put(object) };
        let mut changed = there.clone();
        changed["status"] = object["status"].clone();
        self.put(changed)
    }

    pub(super) fn delete(&mut self, kind: &'static Kind, namespace: &str, name: &str) -> Option<Value> {
        let objects = self.objects.entry(kind.plural).or_default();
        let gone = objects.remove(&(namespace.to_owned(), name.to_owned()))?;
        self.version += 1;
        self.history.push(Change { version: self.version, kind, before: Some(gone.clone()), after: None });
        Some(gone)
    }

    pub(super) fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Option<&Value> {
        self.objects.get(kind.plural)?.get(&(namespace.to_owned(), name.to_owned()))
    }

    pub(super) fn all(&self, kind: &Kind) -> impl Iterator<Item = &Value> {
        self.objects.get(kind.plural).into_iter().flat_map(BTreeMap::values)
    }

    pub(super) fn compact(&mut self) {
        // A change of something else, so that even whoever has seen everything is behind.
        self.version += 1;
        self.compacted = self.version;
        self.history.clear();
    }

    /// What happened after a version, unless that is forgotten.
    pub(super) fn since(&self, version: u64) -> Option<&[Change]> {
        if version < self.compacted {
            return None;
        }
        let first = self.history.partition_point(|change| change.version <= version);
        Some(&self.history[first..])
    }

    pub(super) fn install(&mut self, kind: &'static Kind, installed: bool) {
        if installed {
            self.missing.remove(kind.kind)
        } else {
            self.missing.insert(kind.kind)
        };
    }

    pub(super) fn installed(&self, kind: &Kind) -> bool {
        !self.missing.contains(kind.kind)
    }
}

/// A time that grows with the version: seconds after the beginning of 2026.
fn timestamp(version: u64) -> String {
    let (minutes, seconds) = (version / 60, version % 60);
    format!("2026-01-01T{:02}:{:02}:{seconds:02}Z", minutes / 60 % 24, minutes % 60)
}
