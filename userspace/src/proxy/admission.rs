//! Who may connect to the workload and what they may ask of it, and where it may go: asked here, answered elsewhere.
//!
//! A connection is asked about when it is known where it comes from and goes, and again when it is known that it is not HTTP;
//! each request is asked about for itself. What is refused says why. It deliberately knows no policy.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, Method, Uri};
use tracing::debug;

use super::instance::Instance;
use super::probing::Probing;
use super::record::Record;
use crate::model::{
    AmbiguousPath, ClientAddr, Decided, Direction, Fault, Identity, OriginalDst, Reason, Ruling, Side,
};

/// Who may connect to the workload, what they may ask, and where the workload may go.
///
/// Implemented by the policy in force, or by a test. Every call is made on a thread of the runtime, and never waits.
pub trait Admission: Send + Sync + 'static {
    /// How far a connection to `original` is let in before it has said anything.
    ///
    /// # Errors
    /// Why it is not.
    fn admit(&self, caller: Caller<'_>, original: OriginalDst) -> Result<Admitted, Refused>;

    /// What holds of a connection that says nothing that we read.
    fn opaque(&self, caller: Caller<'_>, original: OriginalDst) -> Decided;

    /// What holds of a request.
    ///
    /// # Errors
    /// Its path means different things to different readers, and it matters.
    fn request(
        &self,
        caller: Caller<'_>,
        original: OriginalDst,
        asked: Asked<'_>,
    ) -> Result<Decided, AmbiguousPath>;

    /// Whether what requests say makes a difference to anybody.
    fn reads_requests(&self) -> bool;

    /// What is let in as a probe although it is refused otherwise.
    fn probes(&self, caller: Caller<'_>, original: OriginalDst) -> Option<Arc<dyn Probing>>;

    /// Whether the instance may dial `destination` for its workload, where no hook of the kernel was asked.
    ///
    /// # Errors
    /// Why it may not.
    fn outbound(&self, destination: SocketAddr) -> Result<(), Reason>;
}

/// Whose call it is.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Who it proved to be; nobody in plain text.
    pub identity: Option<&'a Identity>,
    /// Where it comes from.
    pub client: ClientAddr,
}

impl fmt::Display for Caller<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.identity {
            Some(identity) => identity.fmt(formatter),
            None => self.client.0.ip().fmt(formatter),
        }
    }
}

/// What policy looks at of a request.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its target, as it came.
    pub uri: &'a Uri,
    /// Its headers.
    pub headers: &'a HeaderMap,
}

impl<'a> Asked<'a> {
    /// What it looks at of a head.
    pub(super) const fn of(head: &'a Parts) -> Self {
        Self { method: &head.method, uri: &head.uri, headers: &head.headers }
    }
}

/// How far a connection is let in.
#[derive(Clone)]
pub enum Admitted {
    /// Whatever it says, as things stand.
    Fully,
    /// What it says decides: somebody has to look.
    ByContent,
    /// As far as it is a probe; everything else is refused like this.
    Probing(Arc<dyn Probing>, Refused),
}

/// Why something is not let in.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// What policy says of it, if it was policy.
    pub decided: Option<Box<Decided>>,
}

impl Refused {
    /// Nothing but plain text is wrong with it.
    pub const PLAIN_TEXT: Self = Self { reason: Reason::PlainText, decided: None };

    /// Policy says so.
    #[must_use]
    pub fn by_policy(decided: Decided) -> Self {
        Self { reason: Reason::Policy, decided: Some(Box::new(decided)) }
    }

    /// Whose fault it is that `caller` does not get to `original`, and why.
    pub(super) fn fault(&self, doing: &'static str, caller: Caller<'_>, original: OriginalDst) -> Fault {
        let message = match self.decided.as_deref().map(|decided| &decided.ruling) {
            Some(Ruling::Denied(Some(rule))) => {
                format!("{original} does not let {caller} in: the policy {rule} denies it")
            }
            Some(_) => format!("{original} does not let {caller} in: no rule of an ALLOW policy allows it"),
            None if self.reason == Reason::PlainText => {
                format!("{original} does not take plain text from {}", caller.client.0.ip())
            }
            None => format!("{original} does not let {caller} in"),
        };
        Fault::new(Side::Peer, doing, io::Error::new(io::ErrorKind::PermissionDenied, message))
    }
}

impl Instance {
    /// How far the connection is let in that `record` tells of: of a refusal it tells what policy says.
    ///
    /// # Errors
    /// It is not, and why.
    pub(super) fn admit(&self, record: &mut Record) -> Result<Admitted, (Reason, Fault)> {
        let Some(original) = record.original().filter(|_| !record.is_exempt()) else {
            return Ok(Admitted::Fully);
        };
        let identity = record.source();
        let caller = Caller { identity: identity.as_ref(), client: record.client() };
        self.admission.admit(caller, original).map_err(|refused| {
            let fault = refused.fault("admit connection", caller, original);
            record.refused_by(refused.decided);
            (refused.reason, fault)
        })
    }

    /// Lets the connection on that `record` tells of, of which nothing is read from now on.
    ///
    /// # Errors
    /// It is not let on, and why.
    pub(super) fn admit_opaque(&self, record: &mut Record) -> Result<(), (Reason, Fault)> {
        // Before it is asked about: whoever changes the answer from now on asks again.
        record.turned_opaque();
        if record.direction() == Direction::Outbound || record.is_exempt() {
            return Ok(());
        }
        let Some(original) = record.original() else { return Ok(()) };
        let identity = record.source();
        let caller = Caller { identity: identity.as_ref(), client: record.client() };
        let decided = self.admission.opaque(caller, original);
        if decided.ruling.is_allowed() {
            record.ruled(decided);
            return Ok(());
        }
        let refused = Refused::by_policy(decided);
        let fault = refused.fault("admit connection", caller, original);
        debug!(%fault, "what turned out not to be HTTP is not let in");
        record.refused_by(refused.decided);
        Err((refused.reason, fault))
    }
}
