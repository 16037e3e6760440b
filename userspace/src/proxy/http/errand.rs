//! A request's attempts: at which endpoint, for how long, and whether another one follows.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use http::header::UPGRADE;
use http::{Method, Request, Version};
use tokio::time::{sleep_until, timeout_at};

use super::again;
use super::body::Upload;
use super::choose::Endpoint;
use super::delivery::Undelivered;
use super::forward::{Attempted, Failed, attempt};
use super::front::Front;
use super::pool::Keeping;
use super::replay::Replay;
use super::standing::Standing;
use super::telling::Telling;
use crate::model::{Fault, Flag, Service, ServicePort, TraceParent};
use crate::proxy::connection::blame;
use crate::proxy::relay::End;
use crate::proxy::route;
use crate::routing::{Caps, Failure, Outcome, Retry, Rule, Timeouts, TrafficPolicy};

/// Where a request is to be sent, and by what.
pub(super) struct Goal<'a> {
    pub(super) service: &'a Arc<Service>,
    pub(super) port: ServicePort,
    /// What the service is held to.
    pub(super) policy: Option<&'a Arc<TrafficPolicy>>,
    /// The rule that led there.
    pub(super) rule: Option<&'a Rule>,
}

/// One request and its attempts.
pub(super) struct Errand<'a> {
    front: &'a Arc<Front>,
    goal: Goal<'a>,
    trace: TraceParent,
    standing: Arc<Standing>,
    timeouts: Timeouts,
    deadline: Option<Instant>,
    /// The request's body, if it is kept.
    replay: Option<Arc<Replay>>,
}

/// What another attempt is made of.
enum Again {
    /// Not at all.
    Never,
    /// Of the head alone, since there is no body.
    Head(Box<Request<Upload>>),
    /// Of the head and the body that is kept.
    Whole(Box<Request<Upload>>, Arc<Replay>),
}

/// How an attempt went.
type Ended = Result<Attempted, Failed>;

impl<'a> Errand<'a> {
    pub(super) fn new(front: &'a Arc<Front>, goal: Goal<'a>, trace: TraceParent) -> Self {
        let standing = front.instance.resilience.standings.of(&goal.service.hostname);
        let timeouts = goal.rule.map(|rule| rule.timeouts).unwrap_or_default();
        let deadline = timeouts.request.map(|time| Instant::now() + time);
        Self { front, goal, trace, standing, timeouts, deadline, replay: None }
    }

    /// The same, with the body kept as it is read.
    pub(super) fn keeping(self, replay: Option<Arc<Replay>>) -> Self {
        Self { replay, ..self }
    }

    /// Tries until there is an answer that counts, or until there is to be none.
    pub(super) async fn run(
        self,
        mut request: Request<Upload>,
        telling: &mut Telling,
    ) -> Result<Attempted, Undelivered> {
        let defaults = Retry::default();
        let retry = self.goal.rule.and_then(|rule| rule.retry.as_ref()).unwrap_or(&defaults);
        let caps = self.goal.policy.map(|policy| policy.caps).unwrap_or_default();
        telling.under_way(self.enter(&caps, request.version()).await?);
        self.standing.asked(Instant::now());
        let method = request.method().clone();
        let again = self.again(&request, retry);
        let mut tried: Vec<IpAddr> = Vec::new();
        let mut repetition = None;
        loop {
            let made = u32::try_from(tried.len()).unwrap_or(u32::MAX).saturating_add(1);
            let (mut endpoint, address) = self.endpoint(&tried)?;
            tried.push(address.ip());
            if let Some(policy) = self.goal.policy {
                endpoint.connect_timeout = policy.connect_timeout;
                let (requests, idle) = (policy.requests_per_connection, policy.idle_timeout);
                endpoint.keeping = Some(Keeping { requests, idle });
            }
            telling.sent_to(endpoint.workload.clone());
            telling.counts_for(endpoint.picked.take());
            let ended = self.attempt(request, &mut endpoint, telling).await;
            drop(repetition.take());
            self.record(address, &ended);
            let failure = failure(&ended);
            let Some(failure) = failure else { return conclude(ended) };
            if !retry.wants(&method, failure, made) {
                if retry.attempts > 0 && retry.wants(&method, failure, 1) {
                    telling.failed(Flag::RetriesExhausted, None);
                }
                return conclude(ended);
            }
            let pause = Instant::now() + retry.pause(made, fastrand::u64(..));
            if self.deadline.is_some_and(|deadline| pause >= deadline) {
                return conclude(ended);
            }
            let (ended, unsent) = take_unsent(ended);
            let next = unsent.or_else(|| again.request(telling));
            let Some(next) = next else { return conclude(ended) };
            let Some(place) = self.standing.repeat(&caps, Instant::now()) else {
                telling.failed(Flag::RetriesExhausted, None);
                return conclude(ended);
            };
            tracing::debug!(service = self.goal.service.hostname, ?failure, made, "trying again");
            drop(ended);
            repetition = Some(place);
            request = next;
            sleep_until(pause.into()).await;
        }
    }

    /// Waits for a place among those that the service's limits leave.
    async fn enter(
        &self,
        caps: &Caps,
        version: Version,
    ) -> Result<Option<super::standing::Permit>, Undelivered> {
        if caps.requests.is_none() && caps.connections.is_none() {
            return Ok(None);
        }
        let entered = self.standing.enter(caps, version != Version::HTTP_2);
        let entered = match self.deadline {
            None => entered.await,
            Some(deadline) => timeout_at(deadline.into(), entered)
                .await
                .map_err(|_elapsed| Undelivered::flagged(Flag::UpstreamTimeout, None))?,
        };
        match entered {
            Some(permit) => Ok(Some(permit)),
            None => Err(Undelivered::flagged(Flag::Overflow, None)),
        }
    }

    /// What another attempt could be made of. Copying a head costs something: only where another attempt may be.
    fn again(&self, request: &Request<Upload>, retry: &Retry) -> Again {
        let repeatable = retry.explicit || request.method().is_idempotent();
        let ends_http = *request.method() == Method::CONNECT || request.headers().contains_key(UPGRADE);
        if retry.attempts == 0 || !repeatable || ends_http {
            return Again::Never;
        }
        let head = || Box::new(again::whole_head(request).map(|()| Upload::empty()));
        match &self.replay {
            Some(replay) => Again::Whole(head(), Arc::clone(replay)),
            None if again::is_head_alone(request) => Again::Head(head()),
            None => Again::Never,
        }
    }

    /// An endpoint that is well, and if possible was not tried.
    fn endpoint(&self, tried: &[IpAddr]) -> Result<(Endpoint, SocketAddr), Undelivered> {
        let Goal { service, port, policy, .. } = &self.goal;
        let watched = policy.is_some_and(|policy| policy.outliers.is_some());
        let now = Instant::now();
        if tried.is_empty()
            && let Some(first) = self.first(watched, now)
        {
            return Ok(first);
        }
        let well = if watched {
            self.standing.well(&service.endpoints, port.target_port, now)
        } else {
            service.endpoints.clone()
        };
        let fresh: Vec<IpAddr> = well.iter().filter(|address| !tried.contains(address)).copied().collect();
        let candidates = if fresh.is_empty() { &well } else { &fresh };
        let address = |endpoint: &IpAddr| SocketAddr::new(*endpoint, port.target_port);
        let instance = &self.front.instance;
        let picked = instance.balance.pick(candidates, address);
        let picked = picked.ok_or_else(|| Undelivered::flagged(Flag::NoHealthyUpstream, None))?;
        let address = picked.address();
        let route = route::toward(&instance.neighbours(), Arc::clone(service), picked);
        Ok((Endpoint::from(route), address))
    }

    /// What was chosen and reached before there was a request, if this is where the request is to be sent.
    fn first(&self, watched: bool, now: Instant) -> Option<(Endpoint, SocketAddr)> {
        let mut first = self.front.take_first()?;
        let address = first.picked.as_ref().map(crate::proxy::balance::Picked::address);
        let Goal { service, port, .. } = &self.goal;
        if let (Some(of), Some(address)) = (&first.service, address)
            && of.hostname == service.hostname
            && address.port() == port.target_port
            && service.endpoints.contains(&address.ip())
            && (!watched || !self.standing.well(&[address.ip()], port.target_port, now).is_empty())
        {
            return Some((first, address));
        }
        if let Some(Ok(lent)) = first.ready.take() {
            lent.give_back();
        }
        None
    }

    /// One attempt, for no longer than it may take.
    async fn attempt(
        &self,
        request: Request<Upload>,
        endpoint: &mut Endpoint,
        telling: &mut Telling,
    ) -> Ended {
        let attempt_ends = self.timeouts.backend_request.map(|time| Instant::now() + time);
        let ends = [attempt_ends, self.deadline].into_iter().flatten().min();
        let Some(ends) = ends else {
            return attempt(self.front, request, endpoint, self.trace, telling).await;
        };
        let attempting = attempt(self.front, request, endpoint, self.trace, telling);
        match timeout_at(ends.into(), attempting).await {
            Ok(ended) => ended,
            Err(_elapsed) => {
                let late = std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    "no answer within the time that the route allows (timeouts)",
                );
                let side = blame(End::Upstream, self.front.direction);
                let fault = Fault::new(side, "wait for answer", late);
                Err(Failed { flag: Flag::UpstreamTimeout, fault, unsent: None })
            }
        }
    }

    /// Remembers how an endpoint did.
    fn record(&self, address: SocketAddr, ended: &Ended) {
        let Some(policy) = self.goal.policy.and_then(|policy| policy.outliers.as_ref()) else { return };
        let outcome = match ended {
            Ok(attempted) => Outcome::of(attempted.response.status()),
            Err(Failed { flag: Flag::DownstreamGone, .. }) => return,
            Err(_) => Outcome::GatewayError,
        };
        let endpoints = self.goal.service.endpoints.len();
        if self.standing.record(address, outcome, endpoints, policy, Instant::now()) {
            tracing::info!(endpoint = %address, service = self.goal.service.hostname, "endpoint left out for a while: it kept failing");
        }
    }
}

impl Again {
    /// The request once more, if that can be.
    fn request(&self, telling: &mut Telling) -> Option<Request<Upload>> {
        match self {
            Self::Never => None,
            Self::Head(head) => Some(again::whole_head(head).map(|()| Upload::empty())),
            Self::Whole(head, replay) if replay.is_kept() => {
                let count = telling.upload_count();
                let (body, ended): (Upload, Arc<AtomicBool>) = Upload::again(replay, count.clone());
                if let Some(count) = count {
                    telling.uploading(count, ended);
                }
                Some(again::whole_head(head).map(|()| body))
            }
            Self::Whole(..) => None,
        }
    }
}

/// What an attempt failed by, if it failed in a way that another one may do better.
fn failure(ended: &Ended) -> Option<Failure> {
    match ended {
        Ok(attempted) => {
            let status = attempted.response.status();
            (status.is_client_error() || status.is_server_error()).then_some(Failure::Answered(status))
        }
        Err(Failed { flag: Flag::DownstreamGone, .. }) => None,
        Err(Failed { flag: Flag::UpstreamTimeout, .. }) => Some(Failure::TimedOut),
        Err(Failed { unsent: Some(_), .. }) => Some(Failure::Unsent),
        Err(_) => Some(Failure::Broken),
    }
}

fn take_unsent(ended: Ended) -> (Ended, Option<Request<Upload>>) {
    match ended {
        Err(Failed { flag, fault, unsent }) => (Err(Failed { flag, fault, unsent: None }), unsent),
        answered => (answered, None),
    }
}

fn conclude(ended: Ended) -> Result<Attempted, Undelivered> {
    ended.map_err(|Failed { flag, fault, .. }| Undelivered::flagged(flag, Some(fault)))
}
