//! The place of a request in a trace: read from what the client says, decided as the terms say.

use http::HeaderMap;

use crate::model::{Context, RandomIds, Sampling, Span};

/// Our span of a request with these headers: within the client's trace, or the first of a new one. Without `sampling`
/// traces pass as they come.
pub(super) fn begin(headers: &HeaderMap, sampling: Option<&Sampling>) -> Span {
    let random = RandomIds { trace: fastrand::u128(..), span: fastrand::u64(..) };
    Context::read(headers).child(sampling, random)
}
