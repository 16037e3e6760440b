//! The certificate of a peer: whatever its bytes, reading it ends, and two readers agree on whose it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidestep::identity::Leaf;
use webpki::EndEntityCert;

fuzz_target!(|der: &[u8]| {
    let Ok(leaf) = Leaf::read(der) else { return };
    // What we read is written as it stands there: no normalisation, no cut at a NUL.
    let uri = leaf.identity.as_str().as_bytes();
    assert!(der.windows(uri.len()).any(|window| window == uri), "{leaf:?} does not stand in the certificate");
    // The library that verifies the chain has its own parser. Where it takes the certificate, it reads the same name.
    let der = der.into();
    if let Ok(parsed) = EndEntityCert::try_from(&der) {
        let names: Vec<&str> = parsed.valid_uri_names().collect();
        assert_eq!(names, [leaf.identity.as_str()]);
    }
});
