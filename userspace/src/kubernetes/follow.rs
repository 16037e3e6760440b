//! Following a set of objects: list, then watch, and again for ever.
//!
//! Back-off, bookmarks, `410 Gone` and watches that say nothing are dealt with here and by kube's watcher; whoever follows
//! sees whole sets only, each a truth that the server once told.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use kube::Api;
use kube::runtime::watcher::{self, Config, Event};
use tracing::{debug, warn};

use super::contact::Meaning;
use super::loose::{Kind, Loose};
use super::pace::Retry;
use super::server::{Server, chain};

/// Which object of a set: its namespace and name.
pub(super) type Place = (String, String);
/// A set of objects.
pub(super) type Set<T> = BTreeMap<Place, T>;

/// Objects fetched at a time: what a page of them takes in memory is given back before the next.
const PAGE: u32 = 100;

/// Which objects to follow.
#[derive(Clone, Debug)]
pub(super) struct Following {
    /// Of which kind.
    pub(super) kind: Kind,
    /// In which namespace, or in all.
    pub(super) namespace: Option<String>,
    /// Which fields they have (a field selector).
    pub(super) fields: Option<String>,
    /// Which labels they have (a label selector).
    pub(super) labels: Option<String>,
}

impl Following {
    /// All objects of a kind.
    pub(super) const fn all(kind: Kind) -> Self {
        Self { kind, namespace: None, fields: None, labels: None }
    }

    /// Only those of a namespace.
    pub(super) fn within(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Only those with such fields.
    pub(super) fn fields(mut self, selector: String) -> Self {
        self.fields = Some(selector);
        self
    }

    /// Only those with such labels.
    pub(super) fn labels(mut self, selector: String) -> Self {
        self.labels = Some(selector);
        self
    }

    fn config(&self, seconds: u32) -> Config {
        let mut config = Config::default().timeout(seconds).page_size(PAGE);
        config.field_selector.clone_from(&self.fields);
        config.label_selector.clone_from(&self.labels);
        config
    }

    fn api(&self, server: &Server) -> Api<Loose> {
        self.kind.api(server.client(), self.namespace.as_deref())
    }
}

/// The server does not know the kind that was to be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnknownKind;

/// Follows a set of objects for as long as it is polled, or until the server does not know their kind.
///
/// `read` makes of an object what is kept of it; an object that it refuses is told and is as if it were not there.
/// `publish` gets the set once it was listed, and whenever it has changed since.
pub(super) async fn follow<T: PartialEq>(
    server: &Server,
    what: &Following,
    read: impl Fn(&Loose) -> Result<T, String>,
    mut publish: impl FnMut(&Set<T>),
) -> UnknownKind {
    let mut events =
        pin!(watcher::watcher(what.api(server), what.config(server.pace.watch_seconds())).fuse());
    let mut retry = Retry::new(&server.pace);
    let mut set = Gathered::new(what.kind, read);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                // The beginning of a list is said before the server was asked, and a list is no sign that watches work.
                if !matches!(event, Event::Init) {
                    server.contact.answered();
                }
                if matches!(event, Event::Apply(_) | Event::Delete(_)) {
                    retry.succeeded();
                }
                set.take(event);
                // What is there already is one change, not many.
                while set.changed
                    && let Some(Some(Ok(event))) = events.next().now_or_never()
                {
                    set.take(event);
                }
                if set.listed && std::mem::take(&mut set.changed) {
                    publish(&set.known);
                }
            }
            Err(error) => {
                match meaning(&error) {
                    Meaning::NotFound => return UnknownKind,
                    Meaning::Unreachable => server.contact.failed(&chain(&error)),
                    Meaning::Gone => {
                        debug!(kind = what.kind.kind, "the watch is too old; all is listed again");
                    }
                    Meaning::Refused if set.refused => {}
                    Meaning::Refused => {
                        let (kind, namespace) = (what.kind.kind, what.namespace.as_deref().unwrap_or("all"));
                        warn!(kind, namespace, error = %chain(&error), "the API server refuses to let this be followed");
                        set.refused = true;
                    }
                }
                tokio::time::sleep(retry.failed()).await;
            }
        }
    }
    UnknownKind
}

/// [`follow`] for a kind that every server knows.
pub(super) async fn follow_always<T: PartialEq>(
    server: &Server,
    what: &Following,
    read: impl Fn(&Loose) -> Result<T, String>,
    mut publish: impl FnMut(&Set<T>),
) {
    loop {
        let UnknownKind = follow(server, what, &read, &mut publish).await;
        let kind = what.kind.kind;
        warn!(
            kind,
            "expected an API server that knows this kind, found one that does not; it is asked again"
        );
        tokio::time::sleep(server.pace.unknown_kind).await;
    }
}

/// What an error of the watcher says of the server.
fn meaning(error: &watcher::Error) -> Meaning {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => Meaning::of(error),
        watcher::Error::WatchError(status) => Meaning::of_code(status.code),
        watcher::Error::NoResourceVersion => Meaning::Unreachable,
    }
}

/// The set as it is known, and as it is being listed.
struct Gathered<T, R> {
    kind: Kind,
    read: R,
    known: Set<T>,
    /// While it is listed again, what came so far: the old one stays in force until then.
    listing: Option<Set<T>>,
    /// Objects that could not be read, and why: each is told once.
    faults: BTreeMap<Place, Arc<str>>,
    listed: bool,
    changed: bool,
    refused: bool,
}

impl<T: PartialEq, R: Fn(&Loose) -> Result<T, String>> Gathered<T, R> {
    const fn new(kind: Kind, read: R) -> Self {
        Self {
            kind,
            read,
            known: Set::new(),
            listing: None,
            faults: BTreeMap::new(),
            listed: false,
            changed: false,
            refused: false,
        }
    }

    fn take(&mut self, event: Event<Loose>) {
        match event {
            Event::Init => self.listing = Some(Set::new()),
            Event::InitApply(object) => {
                if let Some((place, read)) = self.understand(&object) {
                    self.listing.get_or_insert_default().insert(place, read);
                }
            }
            Event::InitDone => {
                let listing = self.listing.take().unwrap_or_default();
                self.changed |= !self.listed || listing != self.known;
                self.known = listing;
                self.faults.retain(|place, _| !self.known.contains_key(place));
                self.listed = true;
                self.refused = false;
            }
            Event::Apply(object) => {
                let place = place(&object);
                match self.understand(&object) {
                    Some((place, read)) => {
                        if self.known.get(&place) != Some(&read) {
                            self.known.insert(place, read);
                            self.changed = true;
                        }
                    }
                    None => self.changed |= self.known.remove(&place).is_some(),
                }
            }
            Event::Delete(object) => {
                let place = place(&object);
                self.faults.remove(&place);
                self.changed |= self.known.remove(&place).is_some();
            }
        }
    }

    fn understand(&mut self, object: &Loose) -> Option<(Place, T)> {
        let place = place(object);
        let read = match &object.fault {
            None => (self.read)(object),
            Some(fault) => Err(fault.clone()),
        };
        match read {
            Ok(read) => {
                self.faults.remove(&place);
                Some((place, read))
            }
            Err(fault) => {
                if self.faults.get(&place).is_none_or(|known| **known != *fault) {
                    let (namespace, name) = (&place.0, &place.1);
                    warn!(kind = self.kind.kind, namespace, name, %fault, "an object cannot be read; it is as if it were not there");
                    self.faults.insert(place, fault.into());
                }
                None
            }
        }
    }
}

fn place(object: &Loose) -> Place {
    (object.namespace().to_owned(), object.name().to_owned())
}
