//! A file of revocation lists: whatever its bytes, reading it ends, and is never taken for "nobody is revoked" by mistake.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidestep::identity::read_lists;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(lists) = read_lists(bytes) {
        assert!(!lists.is_empty(), "a file without a list is an error");
    }
});
