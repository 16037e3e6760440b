//! In which order what holds for pods is brought in force for them, when it changes and when pods begin meanwhile.
//!
//! One thing after the other. A pod that begins while something newer is on its way to the others follows them by itself:
//! hundreds that begin one after the other cost each of them one turn, and not every other pod one as well.

use std::time::Duration;

/// How soon what could not be brought in force for a pod is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// How far the newest has come.
#[derive(Debug, Default)]
pub struct Renewal {
    /// How often what holds for pods has changed.
    revision: u64,
    progress: Progress,
    /// Pods that began with less than the newest, by uid.
    late: Vec<String>,
    /// Those for which it failed, and when to try again.
    failed: Vec<String>,
    due: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    /// The newest is in force, but for those that are late.
    #[default]
    Done,
    /// Something is being brought in force.
    UnderWay,
    /// Something is, and there is a newer one already.
    Stale,
}

/// What a pod has begun with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BegunWith(Option<u64>);

/// What is to be brought in force now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    Rest,
    /// The newest, for every pod.
    All,
    /// What is known, for those with these uids.
    Late(Vec<String>),
}

impl Renewal {
    /// What a pod begins with that begins now: what is being brought in force may miss it.
    #[must_use]
    pub fn begin(&self) -> BegunWith {
        BegunWith((self.progress == Progress::Done).then_some(self.revision))
    }

    /// A pod has begun.
    #[must_use]
    pub fn begun(&mut self, uid: &str, with: BegunWith) -> Turn {
        if with.0 == Some(self.revision) { Turn::Rest } else { self.late(uid) }
    }

    /// What holds for one pod may be something else now.
    #[must_use]
    pub fn late(&mut self, uid: &str) -> Turn {
        self.late.push(uid.to_owned());
        self.rested()
    }

    /// For these it could not be brought in force.
    pub fn failed(&mut self, uids: Vec<String>, now: Duration) {
        if !uids.is_empty() {
            self.failed.extend(uids);
            self.due = now + RETRY;
        }
    }

    /// Whether it is time to try again for whom it failed.
    #[must_use]
    pub fn retry(&mut self, now: Duration) -> Turn {
        if now < self.due {
            return Turn::Rest;
        }
        self.late.append(&mut self.failed);
        self.rested()
    }

    /// What is to be done, unless something is.
    fn rested(&mut self) -> Turn {
        if self.progress == Progress::Done { self.over() } else { Turn::Rest }
    }

    /// Something has changed that holds for every pod.
    #[must_use]
    pub fn changed(&mut self) -> Turn {
        self.revision += 1;
        if self.progress != Progress::Done {
            self.progress = Progress::Stale;
            return Turn::Rest;
        }
        self.all()
    }

    /// What was to be brought in force is, or could not be.
    #[must_use]
    pub fn over(&mut self) -> Turn {
        match std::mem::take(&mut self.progress) {
            Progress::Stale => self.all(),
            Progress::Done | Progress::UnderWay if self.late.is_empty() => Turn::Rest,
            Progress::Done | Progress::UnderWay => {
                self.progress = Progress::UnderWay;
                Turn::Late(std::mem::take(&mut self.late))
            }
        }
    }

    fn all(&mut self) -> Turn {
        self.progress = Progress::UnderWay;
        self.late.clear();
        self.failed.clear();
        Turn::All
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(uids: &[&str]) -> Turn {
        Turn::Late(uids.iter().map(|&uid| uid.to_owned()).collect())
    }

    #[test]
    fn what_changes_while_something_is_on_its_way_comes_afterwards() {
        let mut renewal = Renewal::default();
        assert_eq!(renewal.changed(), Turn::All);
        assert_eq!((renewal.changed(), renewal.changed()), (Turn::Rest, Turn::Rest));
        assert_eq!(renewal.over(), Turn::All, "the newest of both");
        assert_eq!((renewal.over(), renewal.changed()), (Turn::Rest, Turn::All));
    }

    #[test]
    fn what_failed_for_a_pod_is_tried_again_after_a_while_unless_there_is_something_newer() {
        let mut renewal = Renewal::default();
        let at = Duration::from_secs;
        for newer in [false, true] {
            assert_eq!(renewal.changed(), Turn::All);
            renewal.failed(vec!["web".to_owned()], at(10));
            assert_eq!((renewal.over(), renewal.retry(at(14))), (Turn::Rest, Turn::Rest));
            if newer {
                assert_eq!((renewal.changed(), renewal.retry(at(15))), (Turn::All, Turn::Rest));
            } else {
                assert_eq!((renewal.retry(at(15)), renewal.retry(at(16))), (late(&["web"]), Turn::Rest));
            }
            assert_eq!(renewal.over(), Turn::Rest);
        }
    }

    #[test]
    fn a_pod_that_began_with_the_newest_needs_nothing() {
        let mut renewal = Renewal::default();
        let with = renewal.begin();
        assert_eq!(renewal.begun("web", with), Turn::Rest);
    }

    #[test]
    fn a_pod_that_began_with_less_than_the_newest_follows_by_itself() {
        let mut renewal = Renewal::default();
        let before = renewal.begin();
        assert_eq!(renewal.changed(), Turn::All);
        assert_eq!(renewal.over(), Turn::Rest);
        assert_eq!(renewal.begun("web", before), late(&["web"]));
        assert_eq!(renewal.over(), Turn::Rest);
    }

    #[test]
    fn pods_that_begin_while_something_is_on_its_way_follow_it() {
        let mut renewal = Renewal::default();
        let before = renewal.begin();
        assert_eq!(renewal.changed(), Turn::All);
        let meanwhile = renewal.begin();
        assert_eq!((renewal.begun("web", before), renewal.begun("db", meanwhile)), (Turn::Rest, Turn::Rest));
        assert_eq!(renewal.over(), late(&["web", "db"]));
        assert_eq!(renewal.begun("cache", meanwhile), Turn::Rest);
        assert_eq!(renewal.over(), late(&["cache"]));
        assert_eq!(renewal.over(), Turn::Rest);
    }

    #[test]
    fn who_would_follow_is_among_all_when_there_is_something_newer() {
        let mut renewal = Renewal::default();
        assert_eq!(renewal.changed(), Turn::All);
        let meanwhile = renewal.begin();
        assert_eq!((renewal.begun("web", meanwhile), renewal.changed()), (Turn::Rest, Turn::Rest));
        assert_eq!((renewal.over(), renewal.over()), (Turn::All, Turn::Rest));
    }
}
