//! Whether policy lets a request through.

use std::io;

use http::StatusCode;
use http::request::Parts;

use super::front::Front;
use super::sound::Unsound;
use super::telling::Telling;
use crate::model::{Direction, Fault, Flag, Reason};
use crate::proxy::admission::{Asked, Refused};
use crate::proxy::connection::blame;
use crate::proxy::probing::OnlyProbes;
use crate::proxy::relay::End;

/// What whoever is refused is told: as Istio does, and nothing of why.
const DENIED: &str = "RBAC: access denied";
/// The same where it is refused for what it comes in.
const NO_PROBE: &str = "only probes are let in here in plain text: exactly the declared paths and services";

/// Who lets a request in.
pub(super) enum Judged {
    /// Policy, whatever it is.
    Allowed,
    /// Nobody, unless it is one of these probes.
    OnlyAs(OnlyProbes),
}

/// Asks about a request of `front`.
///
/// # Errors
/// What the client is told.
pub(super) fn judge(front: &Front, parts: &Parts, telling: &mut Telling) -> Result<Judged, Unsound> {
    if front.direction == Direction::Outbound {
        return Ok(Judged::Allowed);
    }
    let admission = &*front.instance.admission;
    // Before it is asked about: whoever changes the answer from now on asks again.
    telling.enter(admission.reads_requests().then_some(parts));
    if let Some(probes) = &front.probing {
        return Ok(Judged::OnlyAs(OnlyProbes::clone(probes)));
    }
    let Some(original) = front.judged_at() else { return Ok(Judged::Allowed) };
    let decided = match admission.request(front.caller(), original, Asked::of(parts)) {
        Ok(decided) => decided,
        Err(ambiguous) => {
            let fault = io::Error::new(io::ErrorKind::InvalidData, ambiguous.to_string());
            let fault = Fault::new(blame(End::Client, front.direction), "read request", fault);
            telling.failed(Flag::DownstreamProtocol, Some(fault));
            let message = "expected a path that means the same to everybody, found another";
            return Err(Unsound { status: StatusCode::BAD_REQUEST, message });
        }
    };
    if decided.ruling.is_allowed() {
        telling.ruled(decided);
        return Ok(Judged::Allowed);
    }
    let refused = Refused::by_policy(decided);
    match admission.probes(front.caller(), original) {
        Some(probing) => Ok(Judged::OnlyAs(OnlyProbes { probing, refused })),
        None => Err(deny(front, refused, telling)),
    }
}

/// Tells that a request is refused, and says what its client is told.
pub(super) fn deny(front: &Front, refused: Refused, telling: &mut Telling) -> Unsound {
    let original = front.judged_at().unwrap_or(front.original);
    let fault = refused.fault("admit request", front.caller(), original);
    let message = if refused.reason == Reason::Policy { DENIED } else { NO_PROBE };
    telling.failed(Flag::Denied, Some(fault));
    if let Some(decided) = refused.decided {
        telling.ruled(*decided);
    }
    Unsound { status: StatusCode::FORBIDDEN, message }
}
