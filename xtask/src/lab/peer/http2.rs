//! HTTP/2 with prior knowledge on connections that stay open: a server, and a client that asks as soon as it can.
//!
//! Framing and header compression are a library's, the same on both sides and in every mode; beside it there is one thread
//! and as little as possible. Plain requests have no body and are answered with a hundred bytes; gRPC calls (the gRPC over
//! HTTP/2 protocol) carry one message there and one back, and end with their status in trailers.

mod client;
mod server;

use std::future::Future;
use std::net::TcpStream;

use anyhow::{Context, Result};
use clap::ValueEnum;
use tokio::task::LocalSet;

pub(super) use client::closed_loop;
pub(super) use server::serve;

/// What media type a call and its answer have.
const GRPC: &str = "application/grpc";
/// A message of gRPC: not compressed, its length, and that many bytes.
const MESSAGE: &[u8] = b"\0\0\0\0\x30a message that is as long as sixty-four bytes go";
/// The message that has no fields.
const EMPTY: &[u8] = &[0; 5];

/// What is said on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Speech {
    /// A request without a body
    Plain,
    /// A unary call of gRPC
    Grpc,
}

/// How much is under way at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct AtOnce {
    pub(super) connections: usize,
    /// Requests on each connection.
    pub(super) streams: usize,
}

/// Runs on this thread and no other.
fn on_this_thread<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_io().build().context("prepare to wait for sockets")?;
    LocalSet::new().block_on(&runtime, work)
}

/// A socket that waits for nobody and delays nothing.
fn eager(stream: TcpStream) -> Result<tokio::net::TcpStream> {
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    stream.set_nonblocking(true).context("make a connection wait for nobody")?;
    tokio::net::TcpStream::from_std(stream).context("wait for a connection")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_as_long_as_it_says() {
        for message in [MESSAGE, EMPTY] {
            let (head, rest) = message.split_at(5);
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            assert_eq!((head[0], length as usize), (0, rest.len()));
        }
    }
}
