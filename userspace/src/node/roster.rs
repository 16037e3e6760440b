//! Who is served, is about to be, or failed to be; and from what is wished for, the next steps.
//!
//! A pod is known by its uid: one that is made anew under the old name is another. Whoever carries out a step says how it went
//! before the pod gets another one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::wish::{Unsaid, Wish, wish};
use crate::model::{Phase, Pod, PodKey, Pods};

/// How soon a pod that could not be served is tried again, at first and at most; doubled each time.
const RETRY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Begin to serve it. It runs already: its surroundings have to be found.
    Start(Arc<Pod>),
    /// Let go of it.
    Stop(PodKey, String, When),
    /// Tell that it cannot be served, and why.
    Refuse(Arc<Pod>, String),
}

/// When to let go of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It goes on without us.
    Now,
    /// Nobody wants it any more: once nothing lives in it. What it says until then is held to policy.
    HasEnded,
}

/// What to do with a pod that the plugin tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// Begin to serve it now.
    Begin,
    /// It is served, or about to be.
    UnderWay,
    /// It is being let go; afterwards it can be begun anew.
    Ending,
}

/// The pods that a node serves.
#[derive(Debug)]
pub struct Roster {
    unsaid: Unsaid,
    /// By uid.
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    key: PodKey,
    stand: Stand,
    /// Starts that failed in a row.
    failures: u32,
    /// Whether the API server has listed it: what was never listed cannot be missing.
    listed: bool,
    /// Whether the runtime has said that it ends.
    detached: bool,
}

/// How it stands with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stand {
    /// It is being started; whether it is still wished for is looked at afterwards.
    Starting,
    Served,
    Stopping,
    /// It could not be started.
    Failed {
        due: Duration,
    },
    /// It cannot be served: why.
    Refused(String),
    /// The runtime has ended it: it is not begun again for being listed still.
    Detached,
}

impl Roster {
    /// Nobody is served.
    #[must_use]
    pub const fn new(unsaid: Unsaid) -> Self {
        Self { unsaid, entries: BTreeMap::new() }
    }

    /// What is wished for a pod.
    #[must_use]
    pub fn wish(&self, pod: &Pod, pods: &Pods) -> Wish {
        wish(pod, pods.namespaces.get(&pod.key.namespace), self.unsaid)
    }

    /// The steps from what stands to what is wished for. `now` only ever grows.
    pub fn look(&mut self, pods: &Pods, now: Duration) -> Vec<Step> {
        let mut steps = Vec::new();
        if !pods.listed {
            return steps;
        }
        for pod in pods.pods.values() {
            let wished = self.wish(pod, pods);
            self.compare(pod, wished, now, &mut steps);
        }
        let gone = |uid: &String, entry: &Entry| {
            entry.listed && pods.pods.get(&entry.key).is_none_or(|pod| pod.uid != *uid)
        };
        self.entries.retain(|uid, entry| {
            if !gone(uid, entry) {
                return true;
            }
            match entry.stand {
                Stand::Failed { .. } | Stand::Refused(_) | Stand::Detached => false,
                Stand::Served => {
                    entry.stand = Stand::Stopping;
                    steps.push(Step::Stop(entry.key.clone(), uid.clone(), When::HasEnded));
                    true
                }
                Stand::Starting | Stand::Stopping => true,
            }
        });
        steps
    }

    fn compare(&mut self, pod: &Arc<Pod>, wished: Wish, now: Duration, steps: &mut Vec<Step>) {
        let entry = self.entries.get_mut(&pod.uid);
        let stand = entry.map(|entry| {
            entry.listed = true;
            &mut entry.stand
        });
        match (wished, stand) {
            // One without an address has no network yet: the plugin will tell of it.
            (Wish::Serve, None) if !pod.addresses.is_empty() => {
                self.enter(pod, &Stand::Starting, true);
                steps.push(Step::Start(Arc::clone(pod)));
            }
            (Wish::Serve, Some(stand @ (Stand::Failed { .. } | Stand::Refused(_)))) => {
                let due = !matches!(stand, Stand::Failed { due } if *due > now);
                if due && !pod.addresses.is_empty() {
                    *stand = Stand::Starting;
                    steps.push(Step::Start(Arc::clone(pod)));
                }
            }
            (Wish::Leave | Wish::Refuse(_), Some(stand @ Stand::Served)) => {
                *stand = Stand::Stopping;
                // An eviction is said to have ended the pod before it has.
                let when = if pod.phase == Phase::Ended { When::HasEnded } else { When::Now };
                steps.push(Step::Stop(pod.key.clone(), pod.uid.clone(), when));
            }
            (Wish::Refuse(why), None) => {
                self.enter(pod, &Stand::Refused(why.clone()), true);
                steps.push(Step::Refuse(Arc::clone(pod), why));
            }
            (Wish::Refuse(why), Some(stand @ (Stand::Refused(_) | Stand::Failed { .. }))) => {
                if *stand != Stand::Refused(why.clone()) {
                    *stand = Stand::Refused(why.clone());
                    steps.push(Step::Refuse(Arc::clone(pod), why));
                }
            }
            (Wish::Leave, Some(Stand::Failed { .. } | Stand::Refused(_) | Stand::Detached)) => {
                self.entries.remove(&pod.uid);
            }
            (_, Some(Stand::Starting | Stand::Stopping | Stand::Served | Stand::Detached))
            | (Wish::Serve | Wish::Leave, None) => {}
        }
    }

    /// Begins to serve a pod that the plugin tells of, unless that is done or under way.
    pub fn attach(&mut self, pod: &Arc<Pod>) -> Attach {
        match self.entries.get(&pod.uid).map(|entry| &entry.stand) {
            Some(Stand::Starting | Stand::Served) => Attach::UnderWay,
            Some(Stand::Stopping) => Attach::Ending,
            Some(Stand::Failed { .. } | Stand::Refused(_) | Stand::Detached) | None => {
                self.enter(pod, &Stand::Starting, false);
                Attach::Begin
            }
        }
    }

    fn enter(&mut self, pod: &Pod, stand: &Stand, listed: bool) {
        let entry = self.entries.entry(pod.uid.clone());
        let new =
            || Entry { key: pod.key.clone(), stand: stand.clone(), failures: 0, listed, detached: false };
        entry.and_modify(|known| (known.stand, known.detached) = (stand.clone(), false)).or_insert_with(new);
    }

    /// How a start went.
    pub fn started(&mut self, uid: &str, served: bool, now: Duration) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        if served {
            (entry.stand, entry.failures) = (Stand::Served, 0);
        } else {
            let pause = RETRY[0] * 2_u32.pow(entry.failures.min(16));
            entry.stand = Stand::Failed { due: now + pause.min(RETRY[1]) };
            entry.failures += 1;
        }
    }

    /// It is served no more.
    pub fn stopped(&mut self, uid: &str) {
        match self.entries.get_mut(uid) {
            // What was never listed is not begun for being listed either.
            Some(entry) if entry.detached && entry.listed => entry.stand = Stand::Detached,
            _ => drop(self.entries.remove(uid)),
        }
    }

    /// Lets go of a pod of which the runtime says that it ends; whether there is something to let go of.
    pub fn detach(&mut self, uid: &str) -> bool {
        match self.entries.get_mut(uid) {
            Some(entry) if entry.stand == Stand::Served => {
                (entry.stand, entry.detached) = (Stand::Stopping, true);
                true
            }
            _ => false,
        }
    }

    /// Whether of every pod it is known whether it can be served.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.entries.values().all(|entry| entry.stand != Stand::Starting)
    }

    /// When something is to be tried again, if anything is.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        let dues = self.entries.values().filter_map(|entry| match entry.stand {
            Stand::Failed { due } => Some(due),
            _ => None,
        });
        dues.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Network;

    const NOW: Duration = Duration::from_secs(100);

    fn pod(name: &str, uid: &str, mode: &str) -> Arc<Pod> {
        Arc::new(Pod {
            key: PodKey::new("shop", name),
            uid: uid.to_owned(),
            service_account: "default".to_owned(),
            labels: BTreeMap::new(),
            annotations: [("sidestep.io/mode".to_owned(), mode.to_owned())].into(),
            addresses: vec!["10.0.0.9".parse().unwrap()],
            network: Network::Own,
            phase: Phase::Running,
        })
    }

    fn pods(list: &[&Arc<Pod>]) -> Pods {
        Pods {
            listed: true,
            pods: list.iter().map(|pod| (pod.key.clone(), Arc::clone(pod))).collect(),
            namespaces: BTreeMap::new(),
        }
    }

    fn stop(pod: &Pod, when: When) -> Step {
        Step::Stop(pod.key.clone(), pod.uid.clone(), when)
    }

    #[test]
    fn a_pod_is_started_once_and_stopped_when_it_is_gone() {
        let mut roster = Roster::new(Unsaid::Leave);
        let web = pod("web", "1", "enabled");
        assert_eq!(roster.look(&pods(&[&web]), NOW), [Step::Start(web.clone())]);
        assert_eq!(roster.look(&pods(&[&web]), NOW), []);
        roster.started("1", true, NOW);
        assert_eq!(roster.look(&pods(&[&web]), NOW), []);
        assert_eq!(roster.look(&pods(&[]), NOW), [stop(&web, When::HasEnded)]);
        assert_eq!(roster.look(&pods(&[]), NOW), []);
        roster.stopped("1");
        assert_eq!(roster.look(&pods(&[&web]), NOW), [Step::Start(web)]);
    }

    #[test]
    fn nothing_is_missing_before_everything_was_listed() {
        let mut roster = Roster::new(Unsaid::Leave);
        let web = pod("web", "1", "enabled");
        roster.look(&pods(&[&web]), NOW);
        roster.started("1", true, NOW);
        assert_eq!(roster.look(&Pods::default(), NOW), []);
    }

    #[test]
    fn a_pod_of_the_same_name_is_another_one() {
        let mut roster = Roster::new(Unsaid::Leave);
        let (old, new) = (pod("web", "1", "enabled"), pod("web", "2", "enabled"));
        roster.look(&pods(&[&old]), NOW);
        roster.started("1", true, NOW);
        assert_eq!(roster.look(&pods(&[&new]), NOW), [Step::Start(new), stop(&old, When::HasEnded)]);
    }

    #[test]
    fn one_that_changes_its_mind_is_let_go_and_taken_again() {
        let mut roster = Roster::new(Unsaid::Leave);
        let (on, off) = (pod("web", "1", "enabled"), pod("web", "1", "disabled"));
        roster.look(&pods(&[&on]), NOW);
        // Not while it is being started: afterwards.
        assert_eq!(roster.look(&pods(&[&off]), NOW), []);
        roster.started("1", true, NOW);
        assert_eq!(roster.look(&pods(&[&off]), NOW), [stop(&on, When::Now)]);
        roster.stopped("1");
        assert_eq!(roster.look(&pods(&[&on]), NOW), [Step::Start(on)]);
    }

    #[test]
    fn one_that_is_said_to_have_ended_is_let_go_when_it_has() {
        let mut roster = Roster::new(Unsaid::Leave);
        let web = pod("web", "1", "enabled");
        roster.look(&pods(&[&web]), NOW);
        roster.started("1", true, NOW);
        let evicted = Arc::new(Pod { phase: Phase::Ended, ..(*web).clone() });
        assert_eq!(roster.look(&pods(&[&evicted]), NOW), [stop(&web, When::HasEnded)]);
        assert_eq!(roster.look(&pods(&[]), NOW), []);
        roster.stopped("1");
        assert_eq!(roster.look(&pods(&[&evicted]), NOW), []);
    }

    #[test]
    fn what_failed_is_tried_again_later_and_later() {
        let mut roster = Roster::new(Unsaid::Leave);
        let web = pod("web", "1", "enabled");
        roster.look(&pods(&[&web]), NOW);
        let mut now = NOW;
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            roster.started("1", false, now);
            let due = now + Duration::from_secs(pause);
            assert_eq!(roster.next_due(), Some(due));
            assert_eq!(roster.look(&pods(&[&web]), due - Duration::from_millis(1)), []);
            assert_eq!(roster.look(&pods(&[&web]), due), [Step::Start(web.clone())]);
            now = due;
        }
        roster.started("1", true, now);
        assert_eq!(roster.next_due(), None);
    }

    #[test]
    fn it_is_settled_when_every_start_has_gone_well_or_not() {
        let mut roster = Roster::new(Unsaid::Leave);
        let (web, db) = (pod("web", "1", "enabled"), pod("db", "2", "enabled"));
        assert!(roster.is_settled());
        roster.look(&pods(&[&web, &db]), NOW);
        assert!(!roster.is_settled());
        roster.started("1", true, NOW);
        assert!(!roster.is_settled());
        roster.started("2", false, NOW);
        assert!(roster.is_settled());
    }

    #[test]
    fn a_refusal_is_told_once_and_again_when_it_changes() {
        let mut roster = Roster::new(Unsaid::Leave);
        let odd = pod("web", "1", "maybe");
        assert!(matches!(roster.look(&pods(&[&odd]), NOW)[..], [Step::Refuse(..)]));
        assert_eq!(roster.look(&pods(&[&odd]), NOW), []);
        let odder = pod("web", "1", "perhaps");
        assert!(matches!(roster.look(&pods(&[&odder]), NOW)[..], [Step::Refuse(..)]));
        let good = pod("web", "1", "enabled");
        assert_eq!(roster.look(&pods(&[&good]), NOW), [Step::Start(good)]);
    }

    #[test]
    fn the_plugin_is_first_and_the_list_only_finds_what_stands() {
        let mut roster = Roster::new(Unsaid::Leave);
        let web = pod("web", "1", "enabled");
        assert_eq!(roster.attach(&web), Attach::Begin);
        assert_eq!(roster.attach(&web), Attach::UnderWay);
        roster.started("1", true, NOW);
        // Not listed yet, and so not missing.
        assert_eq!(roster.look(&pods(&[]), NOW), []);
        assert_eq!(roster.look(&pods(&[&web]), NOW), []);
        assert!(roster.detach("1"));
        assert!(!roster.detach("1"));
        assert_eq!(roster.attach(&web), Attach::Ending);
        roster.stopped("1");
        assert_eq!(roster.next_due(), None);
    }

    #[test]
    fn a_pod_that_the_runtime_has_ended_is_not_begun_again_for_being_listed_still() {
        let mut roster = Roster::new(Unsaid::Leave);
        let web = pod("web", "1", "enabled");
        assert_eq!(roster.look(&pods(&[&web]), NOW), [Step::Start(web.clone())]);
        roster.started("1", true, NOW);
        assert!(roster.detach("1"));
        roster.stopped("1");
        assert_eq!(roster.look(&pods(&[&web]), NOW), []);
        // A new sandbox is another matter.
        assert_eq!(roster.attach(&web), Attach::Begin);
        roster.started("1", true, NOW);
        assert!(roster.detach("1"));
        roster.stopped("1");
        assert_eq!(roster.look(&pods(&[]), NOW), []);
        assert!(roster.entries.is_empty());
    }
}
