//! Memory for buffers, kept instead of given back at once.
//!
//! musl's allocator maps and unmaps memory for nearly every buffer of the size of a TLS record or more, which halves the
//! throughput of a tunnel. An allocator that keeps everything, on the other hand, keeps what the start needed for loading
//! programs, 15 MB. So each gets what it is good at.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::RangeInclusive;

use dlmalloc::GlobalDlmalloc;

/// Sizes in bytes that are buffers.
const BUFFERS: RangeInclusive<usize> = 8 << 10..=256 << 10;

/// The allocator of the binary.
#[derive(Debug)]
pub struct Allocator;

/// Whether dlmalloc has the memory of that size, which is all that decides it: a block goes back to where it came from.
fn is_buffer(size: usize) -> bool {
    BUFFERS.contains(&size)
}

// SAFETY: each call is handed on as it is to one of two allocators that keep the contract, and which one depends on nothing
// but the size in the layout, which the caller passes unchanged when it gives the block back. A block that changes sides
// when it is resized is copied by the trait's own `realloc`, through `alloc` and `dealloc` here.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        unsafe { if is_buffer(layout.size()) { GlobalDlmalloc.alloc(layout) } else { System.alloc(layout) } }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract; the size leads to where the block came from.
        unsafe {
            if is_buffer(layout.size()) {
                GlobalDlmalloc.dealloc(block, layout);
            } else {
                System.dealloc(block, layout);
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        unsafe {
            if is_buffer(layout.size()) {
                GlobalDlmalloc.alloc_zeroed(layout)
            } else {
                System.alloc_zeroed(layout)
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract; both sizes are on the side that has the block, or it is moved.
        unsafe {
            match (is_buffer(layout.size()), is_buffer(size)) {
                (true, true) => GlobalDlmalloc.realloc(block, layout, size),
                (false, false) => System.realloc(block, layout, size),
                (true, false) | (false, true) => {
                    let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                    if !new.is_null() {
                        std::ptr::copy_nonoverlapping(block, new, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    new
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_keeps_its_bytes_when_it_changes_sides() {
        let sizes = [16, 8 << 10, 64 << 10, 256 << 10, (256 << 10) + 1, 1 << 20, 9_000, 100];
        // SAFETY: every block is given back with the layout that it has, and nothing beyond it is touched.
        unsafe {
            let mut layout = Layout::from_size_align(sizes[0], 8).unwrap();
            let mut block = Allocator.alloc(layout);
            block.write_bytes(0x5a, sizes[0]);
            for size in sizes {
                block = Allocator.realloc(block, layout, size);
                layout = Layout::from_size_align(size, 8).unwrap();
                assert_eq!(std::slice::from_raw_parts(block, 16), [0x5a; 16], "{size}");
            }
            Allocator.dealloc(block, layout);
            let zeroed = Allocator.alloc_zeroed(Layout::from_size_align(64 << 10, 8).unwrap());
            assert!(std::slice::from_raw_parts(zeroed, 64 << 10).iter().all(|&byte| byte == 0));
            Allocator.dealloc(zeroed, Layout::from_size_align(64 << 10, 8).unwrap());
        }
    }
}
