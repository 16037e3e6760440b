//! First bytes and heads of HTTP: nothing panics, what was decided stays decided, and pieces mean what the whole means.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidestep_fuzz::http::detect::{Seen, look, server_name};
use sidestep_fuzz::http::heads::Heads;

fuzz_target!(|bytes: &[u8]| {
    let seen = look(bytes);
    if seen != Seen::Undecided {
        // More bytes change nothing.
        let mut more = bytes.to_vec();
        more.extend_from_slice(b"\r\n\r\n");
        assert_eq!(look(&more), seen);
    }
    let _name = server_name(bytes);

    let mut whole = Heads::default();
    let outcome = whole.inspect(bytes).map_err(|(_, violation)| violation);
    let mut pieces = Heads::default();
    let cut = bytes.iter().try_for_each(|byte| pieces.inspect(std::slice::from_ref(byte)));
    assert_eq!(cut.map_err(|(_, violation)| violation), outcome);
    assert_eq!(pieces.begun(), whole.begun());
    assert_eq!(pieces.within(), whole.within());
});
