//! A request on its way to a service: which rule it meets, what that makes of it, and what it is answered where it is not
//! sent at all.
//!
//! Requests to services that have neither rules nor several endpoints, and all that come in, take the short way: they are
//! sent to where their connection goes, once.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};

use super::again;
use super::body::{Download, Upload};
use super::choose;
use super::errand::{Errand, Goal};
use super::forward::{Attempted, Failed, attempt};
use super::front::Front;
use super::mirror;
use super::own;
use super::resilience::Lead;
use super::target::Target;
use super::telling::Telling;
use crate::model::{Destination, Direction, Fault, Flag, Side, TraceParent};
use crate::proxy::connection::blame;
use crate::proxy::relay::End;
use crate::proxy::route::NoRoute;
use crate::routing::{Backing, Chosen, Rule};

/// An answer, and what is to be changed in it.
pub(super) struct Delivered {
    pub(super) attempted: Attempted,
    pub(super) met: Option<Met>,
}

/// The rule that a request met, and the backend that was chosen there.
pub(super) struct Met {
    rule: Arc<Rule>,
    backend: usize,
}

impl Met {
    /// Changes the answer as both say.
    pub(super) fn edit(&self, headers: &mut HeaderMap) {
        let backend = self.rule.backends.get(self.backend).map(|backend| &backend.filters);
        for filters in [Some(&self.rule.filters), backend].into_iter().flatten() {
            if let Some(edit) = &filters.response_headers {
                edit.apply(headers);
            }
        }
    }
}

/// Why a request is answered by ourselves.
pub(super) struct Undelivered {
    flag: Option<Flag>,
    fault: Option<Fault>,
    status: StatusCode,
    text: &'static str,
    location: Option<HeaderValue>,
}

impl Undelivered {
    /// Something is wrong.
    pub(super) fn because(flag: Flag, status: StatusCode, text: &'static str) -> Self {
        Self { flag: Some(flag), fault: None, status, text, location: None }
    }

    /// Something is wrong that [`own::meaning`] has words for.
    pub(super) fn flagged(flag: Flag, fault: Option<Fault>) -> Self {
        let (status, text) = own::meaning(flag);
        Self { flag: Some(flag), fault, status, text, location: None }
    }

    /// There is no such backend, which a client is told as the Gateway API says.
    fn no_backend(message: String) -> Self {
        let source = io::Error::new(io::ErrorKind::NotFound, message);
        let fault = Some(Fault::new(Side::Workload, "find backend", source));
        let text = "the route has no backend for this request";
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self { flag: Some(Flag::NoRoute), fault, status, text, location: None }
    }

    /// The answer, told.
    pub(super) fn answer(self, mut telling: Telling, version: Version) -> Response<Download> {
        if let Some(fault) = &self.fault {
            tracing::debug!(%fault, "request was not answered");
        }
        if let Some(flag) = self.flag {
            telling.failed(flag, self.fault);
        }
        let Some(location) = self.location else {
            return own::refuse(telling, version, self.status, self.text);
        };
        telling.answered_ourselves(self.status, None);
        let mut response = Response::new(Download::own("", Some(telling)));
        *response.status_mut() = self.status;
        response.headers_mut().insert(LOCATION, location);
        response
    }
}

/// Sends a request to where it belongs.
pub(super) async fn deliver(
    front: &Arc<Front>,
    request: Request<Upload>,
    trace: TraceParent,
    telling: &mut Telling,
) -> Result<Delivered, Undelivered> {
    let lead = front.instance.resilience.lead();
    if front.direction == Direction::Inbound {
        let source = front.proved.as_ref().map(|(source, _)| source);
        if !lead.meters.inbound(front.original.0.port(), source, Instant::now()) {
            return Err(Undelivered::flagged(Flag::RateLimited, None));
        }
        return directly(front, request, trace, telling).await;
    }
    let neighbours = front.instance.neighbours();
    let Destination::Service { service, port } = neighbours.directory.resolve(front.original) else {
        return directly(front, request, trace, telling).await;
    };
    telling.asked_of(Arc::clone(service));
    if !lead.meters.service(&service.hostname, Instant::now()) {
        return Err(Undelivered::flagged(Flag::RateLimited, None));
    }
    if let Some(table) = lead.routes.find(&service.hostname, port.port) {
        let target = Target::of(&request).map_err(|error| {
            let source = io::Error::new(io::ErrorKind::InvalidData, error);
            let fault = Fault::new(blame(End::Client, front.direction), "read request", source);
            Undelivered::flagged(Flag::DownstreamProtocol, Some(fault))
        })?;
        let Some(chosen) = table.choose(&target.view(&request)) else {
            return Err(Undelivered::flagged(Flag::NoRoute, None));
        };
        let (rule, label) = (Arc::clone(chosen.rule), Arc::clone(chosen.label));
        telling.routed(label);
        return Box::pin(by_rule(front, &lead, &target, chosen, rule, request, trace, telling)).await;
    }
    let policy = lead.destinations.find(&service.hostname);
    if policy.is_none() && service.endpoints.len() < 2 {
        return directly(front, request, trace, telling).await;
    }
    let goal = Goal { service, port, policy, rule: None };
    let attempted = Box::pin(Errand::new(front, goal, trace).run(request, telling)).await?;
    Ok(Delivered { attempted, met: None })
}

/// Sends a request to where its connection goes, once.
async fn directly(
    front: &Arc<Front>,
    request: Request<Upload>,
    trace: TraceParent,
    telling: &mut Telling,
) -> Result<Delivered, Undelivered> {
    let mut endpoint = choose::choose(front).map_err(|NoRoute { message, .. }| {
        let source = io::Error::new(io::ErrorKind::HostUnreachable, message);
        let fault = Fault::new(Side::Workload, "find route", source);
        Undelivered::flagged(Flag::NoHealthyUpstream, Some(fault))
    })?;
    telling.chosen(endpoint.service.clone(), endpoint.workload.clone());
    telling.counts_for(endpoint.picked.take());
    match attempt(front, request, &mut endpoint, trace, telling).await {
        Ok(attempted) => Ok(Delivered { attempted, met: None }),
        Err(Failed { flag, fault, .. }) => Err(Undelivered::flagged(flag, Some(fault))),
    }
}

/// Sends a request to where a rule says.
#[expect(
    clippy::too_many_arguments,
    reason = "a function of its own only to keep the short way's future small"
)]
async fn by_rule(
    front: &Arc<Front>,
    lead: &Lead,
    target: &Target,
    chosen: Chosen<'_>,
    rule: Arc<Rule>,
    mut request: Request<Upload>,
    trace: TraceParent,
    telling: &mut Telling,
) -> Result<Delivered, Undelivered> {
    if !lead.meters.rule(chosen.label, Instant::now()) {
        return Err(Undelivered::flagged(Flag::RateLimited, None));
    }
    if let Some(redirect) = &rule.filters.redirect {
        let location = redirect.location(&target.view(&request), chosen.prefix, front.original.0.port());
        let location = location.and_then(|location| HeaderValue::try_from(location).ok());
        let status = redirect.status;
        return Err(match location {
            Some(location) => {
                Undelivered { flag: None, fault: None, status, text: "", location: Some(location) }
            }
            None => Undelivered::because(
                Flag::DownstreamProtocol,
                StatusCode::BAD_REQUEST,
                "expected a host to redirect to, found none",
            ),
        });
    }
    let Some(backend) = rule.backend(fastrand::u64(..)) else {
        return Err(Undelivered::no_backend(format!("{} has no backend with a weight", chosen.label)));
    };
    let to = match &backend.to {
        Backing::Service(to) => to,
        Backing::Invalid(message) => return Err(Undelivered::no_backend(message.clone())),
    };
    let Some((service, port)) = lead.routes.resolve(to) else {
        return Err(Undelivered::no_backend(format!("{to} is not among the services")));
    };
    let changed = target.change(&mut request, &rule.filters, chosen.prefix);
    changed.map_err(|error| Undelivered::no_backend(format!("the rewritten target is none: {error}")))?;
    let mirrors = rule.filters.mirrors.iter().chain(&backend.filters.mirrors);
    let mirrors: Vec<_> = mirrors.filter(|mirror| mirror.share.has(fastrand::u64(..))).collect();
    let repeats = rule.retry.as_ref().is_some_and(|retry| retry.attempts > 0);
    let replay = if repeats || !mirrors.is_empty() { request.body_mut().keep() } else { None };
    for mirror in mirrors {
        mirror::send(front, &lead.routes, mirror, again::head(&request), replay.clone());
    }
    let changed = target.change(&mut request, &backend.filters, chosen.prefix);
    changed.map_err(|error| Undelivered::no_backend(format!("the rewritten target is none: {error}")))?;
    let policy = lead.destinations.find(&service.hostname);
    let goal = Goal { service, port, policy, rule: Some(&rule) };
    let attempted = Errand::new(front, goal, trace).keeping(replay).run(request, telling).await?;
    let number = rule.backends.iter().position(|known| std::ptr::eq(known, backend)).unwrap_or(0);
    Ok(Delivered { attempted, met: Some(Met { rule, backend: number }) })
}
