//! How a connection to a database begins: whatever the bytes, only the one bit changes that offers or wishes for TLS.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sidestep_fuzz::edge::read(bytes));
