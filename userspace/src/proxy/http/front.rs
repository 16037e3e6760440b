//! The client's side of a connection: what all of its requests share.

use std::sync::{Arc, Mutex, PoisonError};

use super::choose::Endpoint;
use super::pool::Pool;
use super::terms::HttpTerms;
use super::upgrade::Agreed;
use super::watch::Watch;
use crate::model::{ClientAddr, Direction, Identity, OriginalDst, Workload};
use crate::proxy::instance::Instance;
use crate::proxy::probing::Probing;
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
    pub(in crate::proxy) probing: Option<Arc<dyn Probing>>,
    /// Connections to upstreams: the worker's, or inbound its own, because the app sees the client in them.
    pub(in crate::proxy) pool: Arc<Pool>,
    pub(in crate::proxy) watch: Arc<Watch>,
    /// What was chosen and dialled before there was a request.
    pub(super) first: Mutex<Option<Endpoint>>,
    pub(super) agreed: Agreed,
}

impl Front {
    /// Keeps what was chosen and dialled before there was a request.
    pub(super) fn keep_first(&self, endpoint: Endpoint) {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(endpoint);
    }

    /// What was chosen before there was a request, for the first one.
    pub(super) fn take_first(&self) -> Option<Endpoint> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
