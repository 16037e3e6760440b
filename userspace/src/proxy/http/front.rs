//! The client's side of a connection: what all of its requests share.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::choose::Endpoint;
use super::pool::Pool;
use super::terms::HttpTerms;
use super::upgrade::Agreed;
use super::watch::Watch;
use crate::model::{ClientAddr, Direction, Identity, OriginalDst, Protocol, Workload};
use crate::proxy::admission::Caller;
use crate::proxy::facts::{Facts, Standing, State};
use crate::proxy::instance::Instance;
use crate::proxy::probing::OnlyProbes;
use crate::proxy::record::Record;
use crate::proxy::workers::Seat;

/// One client's connection.
pub(in crate::proxy) struct Front {
    pub(in crate::proxy) instance: Arc<Instance>,
    pub(in crate::proxy) terms: Arc<HttpTerms>,
    /// The worker that it lives on, and everything that it dials.
    pub(in crate::proxy) seat: Seat,
    pub(in crate::proxy) direction: Direction,
    pub(in crate::proxy) client: ClientAddr,
    pub(in crate::proxy) original: OriginalDst,
    /// Who the client proved to be, and who we proved to be to it: inbound through a tunnel.
    pub(in crate::proxy) proved: Option<(Identity, Identity)>,
    /// The client, if the directory knows it.
    pub(in crate::proxy) peer: Option<Arc<Workload>>,
    /// What alone is let in, if not everything is.
    pub(in crate::proxy) probing: Option<Box<OnlyProbes>>,
    /// What is known of the connection.
    pub(in crate::proxy) facts: Arc<Facts>,
    /// Connections to upstreams: the worker's, or inbound its own, because the app sees the client in them.
    pub(in crate::proxy) pool: Arc<Pool>,
    pub(in crate::proxy) watch: Arc<Watch>,
    /// When the first bytes had come, if they were looked at before they were enough.
    pub(super) since: Option<Box<Instant>>,
    /// What was chosen and dialled before there was a request.
    pub(super) first: Mutex<Option<Endpoint>>,
    pub(super) agreed: Arc<Agreed>,
    /// What says where a request goes.
    pub(in crate::proxy) target: Target,
    /// What the upstream speaks, whatever the client does; else it is spoken with as the client speaks.
    pub(in crate::proxy) spoken: Option<Protocol>,
}

/// What says where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Target {
    /// Its connection.
    OfConnection,
    /// The request itself, to a proxy that it addresses.
    OfRequest,
}

impl Front {
    /// A connection of a client that nothing more is known of.
    pub(in crate::proxy) fn new(
        instance: &Arc<Instance>,
        terms: Arc<HttpTerms>,
        seat: Seat,
        record: &Record,
        original: OriginalDst,
    ) -> Self {
        Self::of(instance, terms, seat, record.facts(), original)
    }

    fn of(
        instance: &Arc<Instance>,
        terms: Arc<HttpTerms>,
        seat: Seat,
        facts: &Arc<Facts>,
        original: OriginalDst,
    ) -> Self {
        let Facts { direction, client, .. } = **facts;
        let pool = match direction {
            Direction::Outbound => Arc::clone(seat.pool()),
            Direction::Inbound => Arc::default(),
        };
        Self {
            instance: Arc::clone(instance),
            terms,
            seat,
            direction,
            client,
            original,
            proved: None,
            peer: None,
            probing: None,
            facts: Arc::clone(facts),
            pool,
            watch: Arc::default(),
            since: None,
            first: Mutex::default(),
            agreed: Arc::default(),
            target: Target::OfConnection,
            spoken: None,
        }
    }

    /// The same connection for a request that goes to `original`.
    pub(super) fn towards(&self, original: OriginalDst) -> Self {
        let seat = self.seat.another();
        let new = Self::of(&self.instance, Arc::clone(&self.terms), seat, &self.facts, original);
        Self { watch: Arc::clone(&self.watch), agreed: Arc::clone(&self.agreed), ..new }
    }

    /// Whose connection it is, as policy sees it.
    pub(super) fn caller(&self) -> Caller<'_> {
        Caller { identity: self.proved.as_ref().map(|(source, _)| source), client: self.client }
    }

    /// Where policy sees its requests go; absent where nobody is asked.
    pub(super) fn judged_at(&self) -> Option<OriginalDst> {
        let State { live, standing, .. } = &*self.facts.state();
        live.original.filter(|_| *standing != Standing::Exempt)
    }

    /// Keeps what was chosen and dialled before there was a request.
    pub(super) fn keep_first(&self, endpoint: Endpoint) {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(endpoint);
    }

    /// What was chosen before there was a request, for the first one.
    pub(super) fn take_first(&self) -> Option<Endpoint> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
