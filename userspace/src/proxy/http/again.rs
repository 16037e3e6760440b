//! Requests that are sent more than once: what of them can be had again.

use http::Request;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use hyper::body::Body as _;

use super::body::Upload;

/// A request's head, without what concerns its first sending alone.
pub(super) fn head<B>(request: &Request<B>) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.version_mut() = request.version();
    *head.headers_mut() = request.headers().clone();
    head
}

/// A request's head with all that is known beside it, such as how its fields were written.
pub(super) fn whole_head<B>(request: &Request<B>) -> Request<()> {
    let mut head = head(request);
    *head.extensions_mut() = request.extensions().clone();
    head
}

/// Whether its head is all of it: no body, and no word of one.
pub(super) fn is_head_alone(request: &Request<Upload>) -> bool {
    let framed =
        request.headers().contains_key(CONTENT_LENGTH) || request.headers().contains_key(TRANSFER_ENCODING);
    request.body().is_end_stream() && !framed
}
