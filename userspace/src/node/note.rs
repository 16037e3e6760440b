//! The note on a pod that it is served: whether it has to be put back because somebody has taken it away.
//!
//! Only one that was seen at the pod can have been taken away: what has been written a moment ago is not in every snapshot yet.
//! Whoever takes it away again and again is not fought at every turn.

use std::time::Duration;

use crate::model::Pod;

/// The annotation that says how a pod is served.
pub(super) const STATUS: &str = "sidestep.io/status";
/// What it says of pods that the agent of a node serves.
const ENROLLED: &str = "enrolled";
/// How long it is left away at least by whoever has just put it back.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of the note on one pod that is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// Whether the last snapshot but for those after a loss has shown it.
    seen: bool,
    /// When it was last put back.
    put_back: Option<Duration>,
}

impl Note {
    /// Looks at the pod of a newer snapshot; whether its note is to be put back, which counts as done then. `now` is a time
    /// that only grows.
    pub fn look(&mut self, pod: &Pod, now: Duration) -> bool {
        if pod.annotations.get(STATUS).is_some_and(|says| says == ENROLLED) {
            self.seen = true;
            return false;
        }
        let lately = self.put_back.is_some_and(|then| now.saturating_sub(then) < PATIENCE);
        let lost = self.seen && !lately;
        if lost {
            *self = Self { seen: false, put_back: Some(now) };
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Network, Phase, PodKey};

    fn pod(says: Option<&str>) -> Pod {
        Pod {
            key: PodKey::new("shop", "web"),
            uid: "u".to_owned(),
            service_account: "default".to_owned(),
            labels: BTreeMap::new(),
            annotations: says.map(|says| (STATUS.to_owned(), says.to_owned())).into_iter().collect(),
            addresses: Vec::new(),
            network: Network::Own,
            phase: Phase::Running,
        }
    }

    #[test]
    fn a_note_that_was_there_and_is_gone_is_put_back_once_each_time() {
        let (there, gone) = (pod(Some("enrolled")), pod(None));
        let mut note = Note::default();
        let mut look = |pod: &Pod, seconds| note.look(pod, Duration::from_secs(seconds));
        assert!(!look(&gone, 0), "it is being written for the first time");
        assert!(!look(&there, 1) && !look(&there, 2));
        assert!(look(&gone, 3));
        assert!(!look(&gone, 4), "it is being written");
        assert!(!look(&there, 5));
        assert!(!look(&pod(Some("else")), 6), "somebody is quick to take it away");
        assert!(look(&pod(Some("else")), 13), "and has it put back after a while");
        assert!(!look(&there, 14) && look(&gone, 30));
    }
}
