//! Policies that were read before: when one file of many changes, only what is new in it is parsed.
//!
//! Parsing YAML is most of what a reload costs. What a document says depends on its text alone, so that the same text need
//! not be parsed again. Only what is valid, and can be done here, is remembered: everything else is found anew each time.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use serde_saphyr::Location;

use super::document::Policy;

/// What stands for a text: two hashes of different keys, which nobody knows.
type Fingerprint = (u64, u64);

/// A policy, and where its metadata stands in its document.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub(super) policy: Policy,
    pub(super) at: Location,
}

/// See the head of the file.
#[derive(Debug, Default)]
pub(in crate::config) struct Memory {
    keys: (RandomState, RandomState),
    /// What was met in this reading.
    now: HashMap<Fingerprint, Remembered>,
    /// What was met before it.
    before: HashMap<Fingerprint, Remembered>,
}

impl Memory {
    /// What is to be remembered by the next reading.
    pub(in crate::config) fn again(mut self) -> Self {
        self.before.extend(self.now.drain());
        self
    }

    /// Gives up what was not met in a reading that went to its end.
    pub(in crate::config) fn settle(&mut self) {
        self.before = HashMap::new();
    }

    /// The policy in a document of this text, if it was read before.
    pub(super) fn recall(&mut self, text: &str) -> Option<Remembered> {
        let fingerprint = self.fingerprint(text);
        if let Some(known) = self.before.remove(&fingerprint) {
            self.now.insert(fingerprint, known);
        }
        self.now.get(&fingerprint).cloned()
    }

    /// Remembers a policy.
    pub(super) fn keep(&mut self, text: &str, policy: &Policy, at: Location) {
        let fingerprint = self.fingerprint(text);
        self.now.insert(fingerprint, Remembered { policy: policy.clone(), at });
    }

    fn fingerprint(&self, text: &str) -> Fingerprint {
        (self.keys.0.hash_one(text), self.keys.1.hash_one(text))
    }
}
