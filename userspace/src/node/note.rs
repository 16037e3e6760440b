//! The note on a pod that it is served: whether it has to be written again because it is not there.
//!
//! What has been written a moment ago is not in every snapshot yet, and whoever takes it away again and again is not fought at
//! every turn: there is a while between two times.

use std::time::Duration;

use crate::model::Pod;

/// The annotation that says how a pod is served.
pub(super) const STATUS: &str = "sidestep.io/status";
/// What it says of pods that the agent of a node serves.
const ENROLLED: &str = "enrolled";
/// How long what was written may take to be seen, at first and at most: doubled each time that it was not.
const PATIENCE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(300)];

/// What is known of the note on one pod that is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// Whether the last snapshot has shown it.
    shown: bool,
    /// When it was last written.
    written: Option<Duration>,
    /// How often it was written again since it was last shown.
    again: u32,
}

impl Note {
    /// Looks at the pod of a snapshot; whether its note is to be written again, which counts as done then. `now` is a time that
    /// only grows.
    pub fn look(&mut self, pod: &Pod, now: Duration) -> bool {
        let was_shown = self.shown;
        self.shown = pod.annotations.get(STATUS).is_some_and(|says| says == ENROLLED);
        if self.shown {
            self.again = 0;
            return false;
        }
        if self.written.is_some_and(|then| !self.is_late(then, now)) {
            return false;
        }
        // Whoever begins to serve the pod writes it for the first time.
        let first = self.written.is_none() && !was_shown;
        self.again += u32::from(!first);
        self.written = Some(now);
        !first
    }

    /// Whether it is time to look though there is no other snapshot.
    #[must_use]
    pub fn is_due(&self, now: Duration) -> bool {
        !self.shown && self.written.is_some_and(|then| self.is_late(then, now))
    }

    fn is_late(&self, written: Duration, now: Duration) -> bool {
        let [first, longest] = PATIENCE;
        let patience = first.saturating_mul(2_u32.saturating_pow(self.again)).min(longest);
        now.saturating_sub(written) >= patience
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
    fn a_note_that_was_there_and_is_gone_is_written_again_after_a_while_each_time() {
        let (there, gone) = (pod(Some("enrolled")), pod(None));
        let mut note = Note::default();
        let mut look = |pod: &Pod, seconds| note.look(pod, Duration::from_secs(seconds));
        assert!(!look(&there, 1), "who served it before has written it");
        assert!(look(&gone, 3));
        assert!(!look(&gone, 4), "it is being written");
        assert!(!look(&there, 5));
        assert!(!look(&pod(Some("else")), 6), "somebody is quick to take it away");
        assert!(look(&pod(Some("else")), 8), "and has it written again after a while");
        assert!(!look(&there, 14) && look(&gone, 30));
    }

    #[test]
    fn a_note_that_was_lost_before_anybody_has_seen_it_is_written_again() {
        let mut note = Note::default();
        let at = Duration::from_secs;
        assert!(!note.look(&pod(None), at(0)), "it is being written for the first time");
        assert!(!note.is_due(at(4)) && note.is_due(at(5)));
        assert!(note.look(&pod(None), at(5)) && !note.is_due(at(6)));
        assert!(!note.look(&pod(Some("enrolled")), at(7)) && !note.is_due(at(60)));
    }
}
