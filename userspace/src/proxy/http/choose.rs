//! Where a request goes: the destination of its connection, never its Host field, which proves nothing.

use std::sync::Arc;
use std::time::Duration;

use super::dialling::Unreached;
use super::front::Front;
use super::pool::{Keeping, Lent};
use crate::model::{Direction, Service, Workload};
use crate::proxy::balance::Picked;
use crate::proxy::route::{self, NoRoute, Route, Way};

/// One endpoint, and the way to it.
pub(in crate::proxy) struct Endpoint {
    pub(in crate::proxy) way: Way,
    /// The request counts for this endpoint while it lives.
    pub(in crate::proxy) picked: Option<Picked>,
    /// The service that it belongs to.
    pub(in crate::proxy) service: Option<Arc<Service>>,
    /// Who is there.
    pub(in crate::proxy) workload: Option<Arc<Workload>>,
    /// A connection that was made to it ahead of the request, or why it could not be.
    pub(super) ready: Option<Result<Lent, Unreached>>,
    /// How long to wait for a connection, if that is not left to the instance's limits.
    pub(super) connect_timeout: Option<Duration>,
    /// How its service wants connections to it kept, if it says.
    pub(super) keeping: Option<Keeping>,
}

impl From<Route> for Endpoint {
    fn from(route: Route) -> Self {
        let Route { picked, way, service, workload } = route;
        Self { way, picked, service, workload, ready: None, connect_timeout: None, keeping: None }
    }
}

/// Chooses an endpoint for a request of `front`.
pub(super) fn choose(front: &Front) -> Result<Endpoint, NoRoute> {
    if let Some(first) = front.take_first() {
        return Ok(first);
    }
    match front.direction {
        Direction::Outbound => {
            let neighbours = front.instance.neighbours();
            route::find(&neighbours, &front.instance.balance, front.original).map(Into::into)
        }
        Direction::Inbound => Ok(Route::plain(front.original).into()),
    }
}
