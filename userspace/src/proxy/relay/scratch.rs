//! One buffer per thread to read into, so that a connection that waits needs none.

use std::cell::RefCell;

/// Bytes of the buffer: four of the largest TLS records.
pub(in crate::proxy) const SIZE: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SIZE].into_boxed_slice());
}

/// Lends the buffer. Bytes are in it only between a read and what follows in the same call.
pub(in crate::proxy) fn with<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| work(buffer))
}
