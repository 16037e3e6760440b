//! Writing many entries of an array with one call.

use std::io;
use std::os::fd::AsFd;

use crate::sys::bpf::{bpf, number};

const BPF_MAP_UPDATE_BATCH: libc::c_int = 26;

#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    element_flags: u64,
    flags: u64,
}

/// Writes words of an array of `u64`, from the index `first` on (Linux 5.6).
///
/// # Errors
/// Those of `BPF_MAP_UPDATE_BATCH`; what lies before the word that failed is written.
pub fn write_words(array: impl AsFd, first: u32, words: &[u64]) -> io::Result<()> {
    let keys: Vec<u32> = (first..).take(words.len()).collect();
    let mut attributes = Batch {
        keys: keys.as_ptr() as u64,
        values: words.as_ptr() as u64,
        count: words.len() as u32,
        map_fd: number(&array),
        ..Batch::default()
    };
    bpf(BPF_MAP_UPDATE_BATCH, &mut attributes).map(drop)
}
