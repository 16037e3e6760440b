//! What requests are led by, and what is remembered between them: one for each instance.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use super::mirror::Mirroring;
use super::rates::Meters;
use super::standing::Standings;
use crate::model::Directory;
use crate::routing::{Destinations, RateLimit, Routes};

/// What requests are led by; replaced as a whole.
#[derive(Debug, Default)]
pub struct Routing {
    /// Rules by service.
    pub routes: Routes,
    /// What connections and requests to services are held to.
    pub destinations: Destinations,
    /// How many requests a time allows.
    pub rate_limits: Vec<RateLimit>,
}

/// [`Routing`] as requests use it.
#[derive(Debug, Default)]
pub(super) struct Lead {
    pub(super) routes: Routes,
    pub(super) destinations: Destinations,
    pub(super) meters: Meters,
}

/// Everything that is remembered from one request to the next.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Resilience {
    lead: RwLock<Arc<Lead>>,
    pub(super) standings: Standings,
    pub(super) mirroring: Arc<Mirroring>,
}

impl Resilience {
    /// What requests are led by now.
    pub(super) fn lead(&self) -> Arc<Lead> {
        Arc::clone(&self.lead.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Leads requests that come from now on by other rules. Services that the directory does not have are forgotten.
    pub(in crate::proxy) fn follow(&self, routing: Routing, directory: &Directory) {
        let mut lead = self.lead.write().unwrap_or_else(PoisonError::into_inner);
        let Routing { routes, destinations, rate_limits } = routing;
        let meters = Meters::new(rate_limits, &lead.meters);
        *lead = Arc::new(Lead { routes, destinations, meters });
        drop(lead);
        let known: HashSet<&str> = directory.services().map(|service| service.hostname.as_str()).collect();
        self.standings.keep(|hostname| known.contains(hostname));
    }
}
