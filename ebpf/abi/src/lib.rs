//! The types and constants that the kernel side and the user side of Sidestep share.
//!
//! Everything here is `repr(C)`, made of integers and arrays only, with explicit padding and a size
//! asserted at compile time: both sides are compiled apart and meet only in map memory.
//! It deliberately knows neither aya nor the kernel's headers (the `user` feature adds aya's marker
//! trait and nothing else), because a userspace crate must never pull in `aya-ebpf`.
//!
//! # Layout
//! - [`address`]: endpoints as map memory holds them
//! - [`handoff`]: the note between a connecting and an accepting socket
//! - [`verdict`]: verdicts, reasons, and the counters indexed by them
//! - [`rules`]: the longest-prefix tables
//! - [`settings`]: what the programs are told about their workload
//! - [`maps`]: the names and sizes of all maps
//! - [`event`]: what the programs tell userspace

#![no_std]

pub mod address;
pub mod event;
pub mod handoff;
pub mod maps;
pub mod rules;
pub mod settings;
pub mod verdict;

/// Version of everything in this crate. Pinned maps of another version are never adopted.
pub const ABI_VERSION: u32 = 4;

/// Marks types as plain map memory for aya's userspace maps and asserts their size.
macro_rules! map_memory {
    ($($type:ty = $size:literal),+ $(,)?) => {$(
        const _: () = assert!(size_of::<$type>() == $size);
        #[cfg(feature = "user")]
        // SAFETY: `repr(C)`, integers and arrays only, no implicit padding (see the asserted size),
        // `Copy` and `'static`, and every bit pattern is a value.
        unsafe impl aya::Pod for $type {}
    )+};
}
pub(crate) use map_memory;
