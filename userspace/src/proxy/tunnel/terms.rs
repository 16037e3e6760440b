//! The terms that both ends of a tunnel announce and keep: those of Istio's ambient mesh, so that neither surprises the other.

use std::time::Duration;

/// Bytes that all streams of a tunnel may have under way together, before their readers take some, where there are few tunnels.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// The same where there are very many.
const LEAST_WINDOW: u32 = 256 << 10;
/// What the tunnels of one instance share of it: readers that take nothing make us hold this much and not as much again for
/// every tunnel.
const INSTANCE_WINDOW: u32 = 64 << 20;
/// Streams that fill a tunnel's window: slower readers than this hold up the others.
const SLOW_READERS: u32 = 4;
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

/// Bytes that a tunnel may have under way, one of so many.
fn connection_window(tunnels: usize) -> u32 {
    let tunnels = u32::try_from(tunnels).unwrap_or(u32::MAX).max(1);
    (INSTANCE_WINDOW / tunnels).clamp(LEAST_WINDOW, CONNECTION_WINDOW)
}

/// What a client announces that has so many tunnels.
pub(super) fn client(tunnels: usize) -> h2::client::Builder {
    let window = connection_window(tunnels);
    let mut terms = h2::client::Builder::new();
    terms
        .initial_window_size(window / SLOW_READERS)
        .initial_connection_window_size(window)
        .max_frame_size(FRAME)
        .max_header_list_size(CLIENT_HEADERS)
        .max_send_buffer_size(SEND_BUFFER)
        .enable_push(false);
    terms
}

/// What a server announces that has so many tunnels.
pub(super) fn server(tunnels: usize) -> h2::server::Builder {
    let window = connection_window(tunnels);
    let mut terms = h2::server::Builder::new();
    terms
        .initial_window_size(window / SLOW_READERS)
        .initial_connection_window_size(window)
        .max_frame_size(FRAME)
        .max_header_list_size(SERVER_HEADERS)
        .max_concurrent_streams(SERVER_STREAMS)
        .max_send_buffer_size(SEND_BUFFER);
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_tunnels_have_large_windows_and_many_share_one_room() {
        for (tunnels, mebibytes) in [(0, 16.0), (1, 16.0), (4, 16.0), (8, 8.0), (64, 1.0), (10_000, 0.25)] {
            let window = f64::from(connection_window(tunnels)) / f64::from(1 << 20);
            assert!((window - mebibytes).abs() < f64::EPSILON, "{tunnels}: {window}");
        }
    }
}
