//! The task that keeps certificates fresh: asks the source when it is due, looks at files when they change, and takes
//! what is sent. What fails leaves the old one in use.

use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::journal::{Journal, Part};
use super::{Current, Shared};
use crate::identity::Settings;
use crate::identity::bundle::Bundles;
use crate::identity::error::IdentityError;
use crate::identity::external::{External, Found};
use crate::identity::rotation::Schedule;
use crate::identity::sources::{Answer, Feed, Issued};
use crate::identity::svid::Svid;
use crate::identity::tls;
use crate::identity::trust::{Bearer, Revocation, SharedTrust, Trust, timestamp_of};
use crate::identity::watch::Watch;
use crate::lasting::Lasting;

/// How soon files that are being written are read again.
const SOON: Duration = Duration::from_millis(250);
/// How long a wait is at most before the clock is looked at again: it may have been set, or the machine have slept, and until
/// then a certificate is in use that nobody believes.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How soon files that are not in order are read again although nothing happened to them.
const RECHECK: Duration = Duration::from_secs(5);
/// How soon another attempt follows at the start.
const START_RETRY: Duration = Duration::from_millis(500);

/// What the task works with.
pub(super) struct Keeper {
    feed: Feed,
    external: External,
    watch: Watch,
    schedule: Schedule,
    /// The bundles that the source gave last.
    own: Bundles,
    shared: Arc<Shared>,
}

/// What woke the task.
enum Wake {
    Due,
    Files,
    Pushed(Result<Answer, String>),
}

impl Keeper {
    /// Obtains everything for the first time: attempts are repeated until all is well or `patience` is over.
    pub(super) async fn start(
        settings: &Settings,
        patience: Duration,
    ) -> Result<(Self, Arc<Shared>), IdentityError> {
        let mut feed = Feed::new(settings);
        let external = External::new(settings);
        let mut watch = Watch::new(feed.paths().into_iter().chain(external.paths()).collect());
        let mut why = "nothing yet".to_owned();
        let started = timeout(patience, async {
            let mut issued = None;
            loop {
                watch.follow();
                match feed.ask().await {
                    Ok(Answer::Issued(new)) => issued = Some(*new),
                    Ok(Answer::Nothing) => {}
                    Ok(Answer::Unfinished) => {
                        why = "a key that does not belong to the certificate".to_owned();
                    }
                    Err(error) => why = error,
                }
                let found = read(&external).await;
                let complaint = match (&found.federated_failure, &found.revocation) {
                    (Some(failure), _) | (None, Revocation::Unreadable(failure)) => Some(failure.clone()),
                    (None, _) => None,
                };
                match (issued.take(), complaint) {
                    (Some(issued), None) => return (issued, found),
                    // A source that sends of its own accord is not asked twice: what it gave is kept.
                    (kept, complaint) => {
                        issued = kept;
                        why = complaint.unwrap_or_else(|| why.clone());
                    }
                }
                let _: Result<_, _> = timeout(START_RETRY, watch.stir()).await;
            }
        });
        let started = started.await;
        let failed = |why| IdentityError { patience: humantime::format_duration(patience), why };
        let Ok((Issued { svid, bundles: own }, found)) = started else { return Err(failed(why)) };
        let mut bundles = found.bundles;
        bundles.extend(own.clone());
        let trust = Arc::new(SharedTrust::new(Trust { bundles, revocation: found.revocation }));
        let schedule = Schedule::new(svid.leaf().validity, SystemTime::now(), roll());
        let journal = Journal::new(schedule.next());
        tell(&svid, &schedule, &trust.today());
        let current = Current::new(svid, &trust).map_err(failed)?;
        let (changes, _) = watch::channel(0);
        let current = RwLock::new(Arc::new(current));
        let shared = Arc::new(Shared { current, trust, journal, changes });
        Ok((Self { feed, external, watch, schedule, own, shared: Arc::clone(&shared) }, shared))
    }

    /// Runs until it is aborted, whatever breaks.
    pub(super) async fn outlast(mut self, mut lasting: Lasting) {
        while lasting.attempt(self.run()).await.is_none() {}
    }

    async fn run(&mut self) {
        let mut soon = None;
        loop {
            let wake = tokio::select! {
                () = sleep_until(self.due(soon)) => Wake::Due,
                () = self.watch.stir() => Wake::Files,
                answer = self.feed.pushed() => Wake::Pushed(answer),
            };
            if matches!(wake, Wake::Files) {
                self.watch.settle().await;
            }
            self.watch.follow();
            let answer = match wake {
                Wake::Pushed(answer) => Some(answer),
                Wake::Files => Some(self.feed.look().await),
                Wake::Due if soon.is_some() || self.schedule.is_due(SystemTime::now()) => {
                    Some(self.feed.ask().await)
                }
                // Only to look at the clock, or at files that were not in order.
                Wake::Due => None,
            };
            soon = matches!(answer, Some(Ok(Answer::Unfinished))).then(|| Instant::now() + SOON);
            let found = read(&self.external).await;
            self.take(answer, found);
        }
    }

    /// When the task has to wake, at the latest.
    fn due(&self, soon: Option<Instant>) -> Instant {
        let longest = if self.shared.journal.is_failing() { RECHECK } else { LONGEST_WAIT };
        let now = SystemTime::now();
        let until = self.schedule.next().duration_since(now).unwrap_or_default();
        let wait = if self.schedule.is_due(now) { Duration::ZERO } else { until };
        let due = Instant::now() + wait.min(longest);
        soon.map_or(due, |soon| soon.min(due))
    }

    /// Puts what came into use: whom to believe first, so that a new authority is known before it is used.
    fn take(&mut self, answer: Option<Result<Answer, String>>, found: Found) {
        let (now, roll) = (SystemTime::now(), roll());
        let schedule = match answer {
            None | Some(Ok(Answer::Unfinished)) => {
                self.believe(found);
                return;
            }
            Some(Ok(Answer::Issued(issued))) => {
                let Issued { svid, bundles } = *issued;
                self.own = bundles;
                self.believe(found);
                self.install(svid, now, roll)
            }
            Some(Ok(Answer::Nothing)) => {
                self.believe(found);
                Ok(self.schedule.clone().nothing_new(now, roll))
            }
            Some(Err(error)) => {
                self.believe(found);
                Err(error)
            }
        };
        let until = self.shared.current().svid.leaf().validity.not_after;
        let journal = &self.shared.journal;
        self.schedule = match schedule {
            Ok(schedule) if schedule.is_late(now) => {
                let message =
                    "three quarters of the lifetime are over and the source gives no newer certificate";
                journal.failed(Part::Source, message.to_owned(), until);
                schedule
            }
            Ok(schedule) => {
                journal.good(Part::Source);
                schedule
            }
            Err(error) => {
                journal.failed(Part::Source, error, until);
                self.schedule.clone().failed(now, roll)
            }
        };
        journal.plan(self.schedule.next());
    }

    /// Puts a certificate into use, if it is another one than before.
    fn install(&self, svid: Svid, now: SystemTime, roll: f64) -> Result<Schedule, String> {
        if svid.chain() == self.shared.current().svid.chain() {
            return Ok(self.schedule.clone().nothing_new(now, roll));
        }
        let schedule = Schedule::new(svid.leaf().validity, now, roll);
        tell(&svid, &schedule, &self.shared.trust.today());
        self.shared.replace(Current::new(svid, &self.shared.trust)?);
        self.shared.journal.rotated();
        Ok(schedule)
    }

    /// Puts bundles and revocation lists into use, if they are others than before. A bundle that can no longer be read
    /// stays what it was; revocation lists that cannot be read let nobody in.
    fn believe(&self, found: Found) {
        let journal = &self.shared.journal;
        let until = self.shared.current().svid.leaf().validity.not_after;
        match &found.federated_failure {
            Some(failure) => journal.failed(Part::Federated, failure.clone(), until),
            None => journal.good(Part::Federated),
        }
        match &found.revocation {
            Revocation::Unreadable(failure) => journal.failed(Part::RevocationLists, failure.clone(), until),
            Revocation::Off | Revocation::Lists(_) => journal.good(Part::RevocationLists),
        }
        let before = self.shared.trust.today();
        let mut bundles = self.own.clone();
        for domain in self.external.domains() {
            let bundle = found.bundles.get(domain).or_else(|| before.bundles.get(domain));
            if let Some(bundle) = bundle.filter(|_| !self.own.contains_key(domain)) {
                bundles.insert(domain.clone(), Arc::clone(bundle));
            }
        }
        let today = Trust { bundles, revocation: found.revocation };
        if today != *before {
            self.shared.trust.replace(today);
            self.shared.changes.send_modify(|changes| *changes += 1);
        }
    }
}

/// Says which certificate is used from now on, and whether those who believe what we believe would take it.
fn tell(svid: &Svid, schedule: &Schedule, trust: &Trust) {
    let leaf = svid.leaf();
    let (identity, serial) = (&leaf.identity, &leaf.serial);
    let (expires, renewal) = (timestamp_of(leaf.validity.not_after), timestamp_of(schedule.next()));
    tracing::info!(%identity, serial, %expires, %renewal, "a certificate is in use");
    if let Err(fault) = trust.verify(svid.chain(), Bearer::Standing, None, SystemTime::now()) {
        tracing::warn!(%identity, serial, %fault, "our own bundle does not vouch for our certificate: peers will refuse it");
    }
}

async fn read(external: &External) -> Found {
    let reader = external.clone();
    let read = tokio::task::spawn_blocking(move || reader.read()).await;
    // Only a runtime that shuts down, or a bug, ends a read early: then nothing is known, and nobody is let in.
    read.unwrap_or_else(|error| Found {
        bundles: Bundles::new(),
        federated_failure: None,
        revocation: Revocation::Unreadable(error.to_string()),
    })
}

/// A roll of the dice from -1 to 1.
fn roll() -> f64 {
    let mut bytes = [0; 4];
    match tls::provider().secure_random.fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX) * 2.0 - 1.0,
        Err(_) => 0.0,
    }
}
