//! The place of a request in a trace: read from what the client says, written for the next hop.

use http::HeaderMap;

use crate::model::{Context, RandomIds, Sampling, Span};

/// A span of our own within the client's trace, or the first of a new one, if anything is traced here.
pub(super) fn begin(headers: &HeaderMap, sampling: Option<&Sampling>) -> Span {
    let random = RandomIds { trace: fastrand::u128(..), span: fastrand::u64(..) };
    Context::read(headers).child(sampling, random)
}
