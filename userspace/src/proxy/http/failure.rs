//! What hyper's errors mean for a request.

use std::error::Error;
use std::io;

use crate::model::Flag;

/// Why an upstream's answer did not come, or not to its end.
pub(super) fn flag(error: &hyper::Error) -> Flag {
    if let Some(reason) = h2_reason(error) {
        return match reason {
            h2::Reason::PROTOCOL_ERROR | h2::Reason::FRAME_SIZE_ERROR | h2::Reason::COMPRESSION_ERROR => {
                Flag::UpstreamProtocol
            }
            _ => Flag::UpstreamReset,
        };
    }
    if error.is_parse() || error.is_parse_too_large() { Flag::UpstreamProtocol } else { Flag::UpstreamGone }
}

/// Whether an error came with the request's own body: the client's fault.
pub(super) fn is_of_upload(error: &hyper::Error) -> bool {
    error.is_user()
}

/// Whether the connection was lost rather than the answer bad, so that another connection may do better.
pub(super) fn is_of_connection(error: &hyper::Error) -> bool {
    error.is_canceled()
        || error.is_closed()
        || error.is_incomplete_message()
        || matches!(h2_reason(error), Some(h2::Reason::REFUSED_STREAM | h2::Reason::NO_ERROR))
        || io(error).kind() != io::ErrorKind::InvalidData
}

/// Whether the other end of a tunnel reset the stream: it has had the request then, because one that only waited ends in order.
pub(super) fn is_of_stream(error: &hyper::Error) -> bool {
    let mut within: Option<&(dyn Error + 'static)> = error.source();
    while let Some(source) = within {
        let stream = source.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(error) = stream.and_then(|error| error.downcast_ref::<h2::Error>()) {
            return error.is_reset() && error.is_remote();
        }
        within = source.source();
    }
    false
}

/// The error of a socket within, or else what hyper says as one.
pub(super) fn io(error: &hyper::Error) -> io::Error {
    let mut within: Option<&(dyn Error + 'static)> = error.source();
    while let Some(source) = within {
        if let Some(source) = source.downcast_ref::<io::Error>() {
            return io::Error::new(source.kind(), error.to_string() + ": " + &source.to_string());
        }
        within = source.source();
    }
    let kind = if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        io::ErrorKind::UnexpectedEof
    } else {
        io::ErrorKind::InvalidData
    };
    io::Error::new(kind, error.to_string())
}

fn h2_reason(error: &hyper::Error) -> Option<h2::Reason> {
    let mut within: Option<&(dyn Error + 'static)> = error.source();
    while let Some(source) = within {
        if let Some(source) = source.downcast_ref::<h2::Error>() {
            return source.reason();
        }
        within = source.source();
    }
    None
}
