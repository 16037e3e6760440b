//! Who has an address: asked of the API server when somebody wants to know, followed from then on, forgotten when there are
//! too many.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::feed::Found;
use super::lookup::{Target, look_up};
use super::neighbour::{Clerk, Neighbour};
use super::resources::Resources;
use super::routes::Routes;
use super::server::{Failure, Server};
use super::service::{Board, View, follow_target};
use super::{Mesh, Settings};
use crate::model::{Destination, OriginalDst};

/// Questions that wait at most.
pub(super) const ASKS: usize = 1024;
/// Lookups that are under way at a time, at most.
const LOOKUPS: usize = 32;
/// Addresses that are remembered to be nobody's, at most.
const NOBODIES: usize = 4096;

/// A question: who has this address?
#[derive(Debug)]
pub(super) struct Ask {
    address: IpAddr,
    answer: oneshot::Sender<Found>,
}

/// Asks, and waits for the answer.
pub(super) async fn find(asks: &mpsc::Sender<Ask>, server: &Server, address: IpAddr) -> Found {
    let (answer, answered) = oneshot::channel();
    let asked = async {
        asks.send(Ask { address, answer }).await.ok()?;
        answered.await.ok()
    };
    // Looked up, then listed.
    timeout(server.pace.answer * 2, asked).await.ok().flatten().unwrap_or(Found::Unreachable)
}

/// Where the directory comes from, beside what is found.
pub(super) struct Sources {
    /// The pods of this node.
    pub(super) local: watch::Receiver<Vec<Arc<Neighbour>>>,
    /// The resources of namespaces that matter.
    pub(super) resources: watch::Receiver<Arc<Resources>>,
}

/// A destination that is followed.
struct Followed {
    task: AbortHandle,
    /// When it was asked for last, as a count of questions; never, if only a route leads there.
    asked: u64,
}

/// What became of a lookup.
type Answer = (IpAddr, Result<Option<Target>, Failure>);

/// Keeps what is known, and publishes it.
pub(super) struct Destinations {
    server: Arc<Server>,
    settings: Arc<Settings>,
    cluster_domain: Arc<str>,
    sources: Sources,
    neighbours: watch::Sender<BTreeSet<String>>,
    publish: watch::Sender<Arc<Mesh>>,
    board: Arc<Board>,
    clerk: Clerk,
    routes: Routes,
    followed: BTreeMap<Target, Followed>,
    tasks: JoinSet<()>,
    lookups: JoinSet<Answer>,
    /// Those who wait: at first for a lookup, then for what it found to be listed.
    waiting: HashMap<IpAddr, Waiting>,
    nobody: HashMap<IpAddr, Instant>,
    questions: u64,
}

#[derive(Default)]
struct Waiting {
    /// Where the lookup has led.
    target: Option<Target>,
    /// Whether it has begun.
    begun: bool,
    answers: Vec<oneshot::Sender<Found>>,
}

impl Destinations {
    pub(super) fn new(
        server: Arc<Server>,
        settings: Arc<Settings>,
        sources: Sources,
        neighbours: watch::Sender<BTreeSet<String>>,
        publish: watch::Sender<Arc<Mesh>>,
    ) -> Self {
        Self {
            cluster_domain: settings.cluster_domain.as_str().into(),
            server,
            settings,
            sources,
            neighbours,
            publish,
            board: Arc::default(),
            clerk: Clerk::default(),
            routes: Routes::default(),
            followed: BTreeMap::new(),
            tasks: JoinSet::new(),
            lookups: JoinSet::new(),
            waiting: HashMap::new(),
            nobody: HashMap::new(),
            questions: 0,
        }
    }

    /// Answers and publishes until nobody can ask any more.
    pub(super) async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        let board = Arc::clone(&self.board);
        loop {
            tokio::select! {
                ask = asks.recv() => match ask {
                    Some(ask) => self.ask(ask),
                    None => return,
                },
                Some(Ok((address, result))) = self.lookups.join_next() => self.looked_up(address, result),
                changed = self.sources.local.changed() => match changed {
                    Ok(()) => self.renew(),
                    Err(_ended) => return,
                },
                changed = self.sources.resources.changed() => match changed {
                    Ok(()) => self.renew(),
                    Err(_ended) => return,
                },
                () = board.changed() => self.renew(),
                Some(_ended) = self.tasks.join_next() => {}
            }
            self.begin_lookups();
        }
    }

    fn ask(&mut self, Ask { address, answer }: Ask) {
        self.questions += 1;
        if let Some(target) = self.target_of(address)
            && let Some(followed) = self.followed.get_mut(&target)
        {
            followed.asked = self.questions;
        }
        let found = if self.knows(address) {
            Found::Known
        } else if self.nobody.get(&address).is_some_and(|since| since.elapsed() < self.server.pace.nobody) {
            Found::Nobody
        } else {
            self.waiting.entry(address).or_default().answers.push(answer);
            return;
        };
        let _gone = answer.send(found);
    }

    /// Whether everything is known of an address that there is to know.
    fn knows(&self, address: IpAddr) -> bool {
        let original = OriginalDst(SocketAddr::new(address, 0));
        if self.publish.borrow().directory.resolve(original) == Destination::Unknown {
            return false;
        }
        match self.target_of(address) {
            Some(Target::Service(place)) => {
                let views = self.board.views();
                let resources = self.sources.resources.borrow();
                // Grants are part of what is known of another namespace.
                let listed = |other: &(String, String)| {
                    views.contains_key(&Target::Service(other.clone()))
                        && resources.settled_for_destinations(&other.0)
                };
                resources.settled_for_destinations(&place.0) && self.routes.of(&place).all(listed)
            }
            Some(Target::Address(_)) | None => true,
        }
    }

    /// The followed destination that an address of the directory belongs to.
    fn target_of(&self, address: IpAddr) -> Option<Target> {
        let at_address = Target::Address(address);
        let views = self.board.views();
        if views.get(&at_address).is_some_and(|view| !view.neighbours.is_empty()) {
            return Some(at_address);
        }
        let has =
            |view: &View| view.service.as_ref().is_some_and(|service| service.addresses.contains(&address));
        views.iter().find(|(_, view)| has(view)).map(|(target, _)| target.clone())
    }

    fn begin_lookups(&mut self) {
        self.waiting.retain(|_, waiting| {
            waiting.answers.retain(|answer| !answer.is_closed());
            !waiting.answers.is_empty()
        });
        let waiting = self.waiting.iter_mut().filter(|(_, waiting)| !waiting.begun);
        for (&address, waiting) in waiting.take(LOOKUPS.saturating_sub(self.lookups.len())) {
            waiting.begun = true;
            let server = Arc::clone(&self.server);
            self.lookups.spawn(async move { (address, look_up(&server, address).await) });
        }
    }

    fn looked_up(&mut self, address: IpAddr, result: Result<Option<Target>, Failure>) {
        match result {
            Ok(Some(target)) => {
                if let Some(waiting) = self.waiting.get_mut(&address) {
                    waiting.target = Some(target.clone());
                }
                self.follow(target, self.questions);
                self.make_room();
                self.renew();
            }
            Ok(None) => {
                if self.nobody.len() >= NOBODIES {
                    let lifetime = self.server.pace.nobody;
                    self.nobody.retain(|_, since| since.elapsed() < lifetime);
                }
                if self.nobody.len() < NOBODIES {
                    self.nobody.insert(address, Instant::now());
                }
                self.answer(address, Found::Nobody);
            }
            Err(error) => {
                debug!(%address, %error, "the API server could not be asked who has an address");
                self.answer(address, Found::Unreachable);
            }
        }
    }

    fn answer(&mut self, address: IpAddr, found: Found) {
        for answer in self.waiting.remove(&address).map(|waiting| waiting.answers).into_iter().flatten() {
            let _gone = answer.send(found);
        }
    }

    fn follow(&mut self, target: Target, asked: u64) {
        let followed = self.followed.entry(target.clone()).or_insert_with(|| {
            let (server, domain) = (Arc::clone(&self.server), Arc::clone(&self.cluster_domain));
            let task = self.tasks.spawn(follow_target(server, domain, target, Arc::clone(&self.board)));
            Followed { task, asked }
        });
        followed.asked = followed.asked.max(asked);
    }

    fn forget(&mut self, target: &Target) {
        if let Some(followed) = self.followed.remove(target) {
            followed.task.abort();
        }
        self.board.views().remove(target);
    }

    /// Forgets what was asked for longest ago, as long as there is too much.
    fn make_room(&mut self) {
        let asked_for = |followed: &Followed| followed.asked > 0;
        while self.followed.values().filter(|followed| asked_for(followed)).count()
            > self.settings.most_destinations
        {
            let asked = self.followed.iter().filter(|(_, followed)| asked_for(followed));
            let Some(oldest) =
                asked.min_by_key(|(_, followed)| followed.asked).map(|(target, _)| target.clone())
            else {
                return;
            };
            debug!(target = ?oldest, "a destination is forgotten to make room");
            self.forget(&oldest);
        }
    }

    /// Makes of everything that is known what is published, and answers those whose answer is in it.
    fn renew(&mut self) {
        let local = self.sources.local.borrow_and_update().clone();
        let resources = Arc::clone(&self.sources.resources.borrow_and_update());
        self.routes = Routes::read(&resources.objects);
        self.drop_what_is_gone();
        self.follow_routes();
        self.tell_namespaces();

        let views: Vec<Arc<View>> = {
            let mut views = self.board.views();
            // Whoever was told to stop may have left a last one.
            views.retain(|target, _| self.followed.contains_key(target));
            // In an order that does not change by chance.
            self.followed.keys().filter_map(|target| views.get(target).cloned()).collect()
        };
        let neighbours = local.iter().chain(views.iter().flat_map(|view| &view.neighbours));
        let services = views.iter().filter_map(|view| view.service.as_ref());
        let directory = self.clerk.directory(&self.settings, neighbours, services);
        let (settled, granting) = (resources.settled_for_workloads(), resources.granting());
        self.publish.send_if_modified(|last| {
            let same = *last.directory == directory
                && last.resources == resources.objects
                && last.settled == settled
                && last.granting == granting;
            if !same {
                let directory = if *last.directory == directory {
                    Arc::clone(&last.directory)
                } else {
                    Arc::new(directory)
                };
                *last = Arc::new(Mesh { directory, resources: resources.objects.clone(), settled, granting });
            }
            !same
        });
        self.answer_those_who_wait();
    }

    fn answer_those_who_wait(&mut self) {
        let listed: Vec<(IpAddr, Option<Target>)> =
            self.waiting.iter().map(|(&address, waiting)| (address, waiting.target.clone())).collect();
        for (address, target) in listed {
            if self.knows(address) {
                self.answer(address, Found::Known);
            } else if let Some(target) = target
                && !self.followed.contains_key(&target)
            {
                // It went while it was listed.
                self.answer(address, Found::Nobody);
            }
        }
    }

    /// Forgets destinations that are no more: their addresses are looked up anew.
    fn drop_what_is_gone(&mut self) {
        let gone: Vec<Target> = {
            let views = self.board.views();
            let empty = |view: &View| view.service.is_none() && view.neighbours.is_empty();
            let followed = self.followed.iter().filter(|(_, followed)| followed.asked > 0);
            let gone = followed.filter(|(target, _)| views.get(target).is_some_and(|view| empty(view)));
            gone.map(|(target, _)| target.clone()).collect()
        };
        for target in &gone {
            self.forget(target);
        }
    }

    /// Follows where the routes of known services lead, and forgets where they do not lead any more.
    fn follow_routes(&mut self) {
        let asked = self.followed.iter().filter(|(_, followed)| followed.asked > 0);
        let services = asked.filter_map(|(target, _)| match target {
            Target::Service(place) => Some(place),
            Target::Address(_) => None,
        });
        let wanted: BTreeSet<Target> =
            services.flat_map(|place| self.routes.of(place)).cloned().map(Target::Service).collect();
        let idle: Vec<Target> = self
            .followed
            .iter()
            .filter(|(target, followed)| followed.asked == 0 && !wanted.contains(target))
            .map(|(target, _)| target.clone())
            .collect();
        for target in &idle {
            self.forget(target);
        }
        // A route can name a great many; those beyond are as if they were not there.
        let room = (self.settings.most_destinations * 2).saturating_sub(self.followed.len());
        let new: Vec<Target> =
            wanted.into_iter().filter(|target| !self.followed.contains_key(target)).collect();
        if new.len() > room {
            warn!(
                room,
                found = new.len(),
                "routes lead to more services than there is room for; the rest is not known"
            );
        }
        for target in new.into_iter().take(room) {
            self.follow(target, 0);
        }
    }

    fn tell_namespaces(&self) {
        let services = self.followed.keys().filter_map(|target| match target {
            Target::Service((namespace, _)) => Some(namespace.clone()),
            Target::Address(_) => None,
        });
        let namespaces: BTreeSet<String> = services.collect();
        self.neighbours.send_if_modified(|last| {
            let changed = *last != namespaces;
            *last = namespaces;
            changed
        });
    }
}
