//! A SPIFFE ID: whatever the text, what is accepted is what was written, and nothing of it is another's part.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidestep::model::{Identity, TrustDomain};

fuzz_target!(|text: &str| {
    let Ok(identity) = text.parse::<Identity>() else { return };
    assert_eq!(identity.as_str(), text);
    assert!(
        text.is_ascii()
            && !text.bytes().any(|byte| byte <= b' ' || b"%?#@:\\".contains(&byte) && byte != b':')
    );
    assert_eq!(text.matches(':').count(), 1, "only that of the scheme");
    let domain: TrustDomain = identity.trust_domain().parse().unwrap();
    assert_eq!(Identity::new(&domain, identity.namespace(), identity.service_account()), Ok(identity));
});
