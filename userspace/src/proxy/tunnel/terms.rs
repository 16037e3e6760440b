//! The terms that both ends of a tunnel announce and keep: those of Istio's ambient mesh, so that neither surprises the other.

use std::time::Duration;

/// Bytes that a stream may have under way before its reader takes some (SETTINGS_INITIAL_WINDOW_SIZE): also the most
/// that one slow reader makes us hold.
pub(super) const STREAM_WINDOW: u32 = 4 << 20;
/// Bytes that all streams of a connection may have under way together.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Longest frame (SETTINGS_MAX_FRAME_SIZE).
const FRAME: u32 = 1 << 20;
/// Longest head that a server is sent (SETTINGS_MAX_HEADER_LIST_SIZE).
const SERVER_HEADERS: u32 = 64 << 10;
/// Longest head that a client is answered.
const CLIENT_HEADERS: u32 = 16 << 10;
/// Streams that a server lets a client have open (SETTINGS_MAX_CONCURRENT_STREAMS).
const SERVER_STREAMS: u32 = 200;
/// Streams that a client opens on one connection before it dials another.
pub(super) const CLIENT_STREAMS: usize = 100;
/// Bytes of one stream that wait to be encrypted.
const SEND_BUFFER: usize = 256 << 10;

/// Bytes that TLS encrypts ahead of the socket: two of the largest pieces of a stream go out in one system call.
pub(super) const TLS_BUFFER: usize = 160 << 10;

/// How often the other end is pinged.
pub(super) const PING_PERIOD: Duration = Duration::from_secs(10);
/// How long its answer may take before it counts as gone.
pub(super) const PING_PATIENCE: Duration = Duration::from_secs(20);

/// What a client announces.
pub(super) fn client() -> h2::client::Builder {
    let mut terms = h2::client::Builder::new();
    terms
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_header_list_size(CLIENT_HEADERS)
        .max_send_buffer_size(SEND_BUFFER)
        .enable_push(false);
    terms
}

/// What a server announces.
pub(super) fn server() -> h2::server::Builder {
    let mut terms = h2::server::Builder::new();
    terms
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_header_list_size(SERVER_HEADERS)
        .max_concurrent_streams(SERVER_STREAMS)
        .max_send_buffer_size(SEND_BUFFER);
    terms
}
