//! A file of certificate authorities: whatever its bytes, reading it ends, within the bound on how many there are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidestep::identity::{Bundle, MOST_AUTHORITIES, certificates_of_pem};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(certificates) = certificates_of_pem(bytes, MOST_AUTHORITIES) {
        assert!((1..=MOST_AUTHORITIES).contains(&certificates.len()));
    }
    let _: Result<Bundle, String> = Bundle::of_pem(bytes);
});
