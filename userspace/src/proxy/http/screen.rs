//! Whether a request is a probe, where nothing else is let in.

use http::request::Parts;
use http::{Method, Version};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use tokio::time::timeout;

use super::front::Front;
use super::judge::Judged;
use super::upgrade::Wish;
use crate::proxy::admission::Refused;
use crate::proxy::probing::{OnlyProbes, Permit};

/// Bytes that a request for health may have: a name, and what is around it.
const LONGEST_CHECK: usize = 256;

/// A body that was let in.
pub(super) enum Screened {
    /// Nobody has looked at it.
    Unread(Incoming),
    /// All of it was looked at.
    Whole(Bytes),
}

/// Lets a request of `front` in, if it may come in.
///
/// # Errors
/// How it is refused.
pub(super) async fn screen(
    front: &Front,
    judged: Judged,
    wish: Wish,
    parts: &Parts,
    body: Incoming,
) -> Result<Screened, Refused> {
    let (probing, refused) = match judged {
        Judged::Allowed => return Ok(Screened::Unread(body)),
        Judged::OnlyAs(OnlyProbes { probing, refused }) => (probing, refused),
    };
    // A target of HTTP/1 that names another host is for a proxy, which this is not.
    let absolute = parts.version != Version::HTTP_2 && parts.uri.authority().is_some();
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let plain = !absolute && wish == Wish::Answer;
    match probing.permits(parts.method.as_str(), target) {
        Permit::Granted if plain => Ok(Screened::Unread(body)),
        Permit::IfItsBodyIs if plain && parts.version == Version::HTTP_2 && parts.method == Method::POST => {
            let collecting = Limited::new(body, LONGEST_CHECK).collect();
            let Ok(Ok(collected)) = timeout(front.terms.header_timeout, collecting).await else {
                return Err(refused);
            };
            let bytes = collected.to_bytes();
            if probing.permits_check(&bytes) { Ok(Screened::Whole(bytes)) } else { Err(refused) }
        }
        _ => Err(refused),
    }
}
