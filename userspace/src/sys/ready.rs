//! Waiting with tokio for a descriptor that tokio has no type for.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use tokio::io::unix::AsyncFd;

/// Registers an owner of a descriptor with the current runtime.
///
/// # Errors
/// If the descriptor cannot be polled.
pub fn watched<T: AsFd + AsRawFd>(owner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the owner lends its descriptor by `AsFd`, so that it stays open and the same as long as the owner lives, and
    // the `AsyncFd` keeps the owner; the types used here (sockets, aya's ring buffer) do not hand it to others.
    unsafe { AsyncFd::register(owner) }.map_err(io::Error::from)
}
