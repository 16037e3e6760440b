//! How services do, remembered from one request to the next: who of their endpoints fails, what is under way, and what is
//! left for repetitions.
//!
//! The decisions are those of [`crate::routing`]; here is what they are made with, shared by all workers.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::routing::{Budget, Caps, Entrance, Occupancy, Outcome, OutlierPolicy, Outliers};

/// All services that were asked.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Standings(Mutex<HashMap<String, Arc<Standing>>>);

impl Standings {
    /// How a service does.
    pub(super) fn of(&self, hostname: &str) -> Arc<Standing> {
        let mut known = self.known();
        if let Some(standing) = known.get(hostname) {
            return Arc::clone(standing);
        }
        let standing = Arc::new(Standing::new(Instant::now()));
        known.insert(hostname.to_owned(), Arc::clone(&standing));
        standing
    }

    /// Forgets all services but these.
    pub(in crate::proxy) fn keep(&self, wanted: impl Fn(&str) -> bool) {
        self.known().retain(|hostname, _| wanted(hostname));
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<Standing>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How one service does.
#[derive(Debug)]
pub(in crate::proxy) struct Standing {
    state: Mutex<State>,
    /// Told when a request is over that others may wait for.
    freed: Notify,
}

#[derive(Debug)]
struct State {
    outliers: Outliers<SocketAddr>,
    occupancy: Occupancy,
    budget: Budget,
}

impl Standing {
    fn new(now: Instant) -> Self {
        let (outliers, occupancy) = (Outliers::default(), Occupancy::default());
        Self {
            state: Mutex::new(State { outliers, occupancy, budget: Budget::new(now) }),
            freed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a request in when there is room for it; none if it is to be turned away. `exclusive`, if it takes a connection
    /// for itself.
    pub(super) async fn enter(self: &Arc<Self>, caps: &Caps, exclusive: bool) -> Option<Permit> {
        loop {
            let freed = self.freed.notified();
            let entrance = self.state().occupancy.enter(caps, exclusive);
            match entrance {
                Entrance::Open => return Some(Permit { standing: Arc::clone(self), exclusive }),
                Entrance::Full => return None,
                Entrance::Wait => {
                    let _waiting = Waiting(self);
                    freed.await;
                }
            }
        }
    }

    /// Counts a request, of which a part may be repeated.
    pub(super) fn asked(&self, now: Instant) {
        self.state().budget.request(now);
    }

    /// Whether a request may be repeated; it counts as being so until the answer is dropped.
    pub(super) fn repeat(self: &Arc<Self>, caps: &Caps, now: Instant) -> Option<Repetition> {
        let mut state = self.state();
        if !state.occupancy.repeat(caps) {
            return None;
        }
        let repetition = Repetition(Arc::clone(self));
        let within = state.budget.repeat(now);
        drop(state);
        within.then_some(repetition)
    }

    /// The endpoints that are not left out.
    pub(super) fn well(&self, endpoints: &[IpAddr], port: u16, now: Instant) -> Vec<IpAddr> {
        let state = self.state();
        let well = |address: &&IpAddr| !state.outliers.ejects(&SocketAddr::new(**address, port), now);
        endpoints.iter().filter(well).copied().collect()
    }

    /// Tells what came of an attempt at one of `endpoints` endpoints; says whether it is left out from now on.
    pub(super) fn record(
        &self,
        endpoint: SocketAddr,
        outcome: Outcome,
        endpoints: usize,
        policy: &OutlierPolicy,
        now: Instant,
    ) -> bool {
        self.state().outliers.record(endpoint, outcome, endpoints, policy, now)
    }
}

/// A request that is under way, until it is dropped.
#[derive(Debug)]
pub(in crate::proxy) struct Permit {
    standing: Arc<Standing>,
    exclusive: bool,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.standing.state().occupancy.leave(self.exclusive);
        self.standing.freed.notify_one();
    }
}

/// A repetition that is under way, until it is dropped.
#[derive(Debug)]
pub(super) struct Repetition(Arc<Standing>);

impl Drop for Repetition {
    fn drop(&mut self) {
        self.0.state().occupancy.repeated();
    }
}

/// A request that waits, until it is dropped.
struct Waiting<'a>(&'a Standing);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().occupancy.stop_waiting();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_request_waits_for_another_to_end_and_is_not_forgotten_when_it_gives_up() {
        let standings = Standings::default();
        let standing = standings.of("web");
        let caps = Caps { connections: Some(1), pending: Some(1), ..Caps::default() };
        let first = standing.enter(&caps, true).await.unwrap();
        let gave_up = tokio::time::timeout(Duration::from_millis(10), standing.enter(&caps, true)).await;
        assert!(gave_up.is_err(), "it waits");
        let waiting = tokio::spawn({
            let standing = Arc::clone(&standing);
            async move { standing.enter(&caps, true).await.is_some() }
        });
        tokio::task::yield_now().await;
        assert!(standing.enter(&caps, true).await.is_none(), "one waits already");
        drop(first);
        assert!(waiting.await.unwrap());
        assert!(standing.state().occupancy.is_idle());
        standings.keep(|hostname| hostname != "web");
        assert!(!Arc::ptr_eq(&standing, &standings.of("web")));
    }

    #[test]
    fn what_the_budget_refuses_takes_no_place() {
        let standing = Arc::new(Standing::new(Instant::now()));
        let caps = Caps { retries: Some(100), ..Caps::default() };
        let held: Vec<_> = std::iter::from_fn(|| standing.repeat(&caps, Instant::now())).take(100).collect();
        assert_eq!(held.len(), 30);
        drop(held);
        assert!(standing.state().occupancy.is_idle());
    }
}
