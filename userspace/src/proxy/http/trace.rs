//! The place of a request in a trace: read from what the client says, written for the next hop.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::model::{Span, TraceParent};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A span of our own: within the client's trace, or the first of a new one.
pub(super) fn begin(headers: &HeaderMap) -> Span {
    let parent = headers.get(TRACEPARENT).and_then(|value| TraceParent::parse(value.as_bytes()));
    let state = parent.and(headers.get(TRACESTATE)).and_then(|value| value.to_str().ok());
    let span = fastrand::u64(1..).to_ne_bytes();
    let own = match parent {
        Some(parent) => TraceParent { span, ..parent },
        None => fresh(span),
    };
    Span { own, parent: parent.map(|parent| parent.span), state: state.map(Into::into) }
}

/// Tells the next hop of `span`.
pub(super) fn tell(headers: &mut HeaderMap, span: &Span) {
    if let Ok(value) = HeaderValue::from_str(&span.own.to_string()) {
        headers.insert(TRACEPARENT, value);
    }
}

fn fresh(span: [u8; 8]) -> TraceParent {
    loop {
        // All zero once in 2^128 times.
        if let Some(trace) = TraceParent::from_random(fastrand::u128(..).to_ne_bytes(), span) {
            return trace;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_continued_or_begun() {
        let mut headers = HeaderMap::new();
        let root = begin(&headers);
        assert_eq!((root.parent, root.own.sampled()), (None, false));
        tell(&mut headers, &root);
        headers.insert(TRACESTATE, HeaderValue::from_static("a=b"));
        let child = begin(&headers);
        assert_eq!((child.own.trace, child.parent), (root.own.trace, Some(root.own.span)));
        assert_ne!(child.own.span, root.own.span);
        assert_eq!(child.state.as_deref(), Some("a=b"));
    }
}
