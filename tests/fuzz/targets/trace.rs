//! Trace headers: whatever came, what goes on is well formed, is what was decided, and is read back as that.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidestep_fuzz::model::trace::{Context, Parents, RandomIds, Sampling};

const NAMES: [&str; 8] = [
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
];

fuzz_target!(|bytes: &[u8]| {
    let mut headers = http::HeaderMap::new();
    for field in bytes.split(|byte| *byte == b'\n').take(64) {
        let Some((which, value)) = field.split_first() else { continue };
        let Ok(value) = http::HeaderValue::from_bytes(value) else { continue };
        headers.append(NAMES[usize::from(which % 8)], value);
    }
    let came = headers.clone();
    let sampling = Sampling::new(0.5, Parents::Followed);
    let random = RandomIds { trace: 1 << 60, span: 7 };
    let span = Context::read(&headers).child(Some(&sampling), random);
    span.write(&mut headers);

    assert_eq!(headers.get_all("traceparent").iter().count(), 1);
    assert_eq!(headers["traceparent"], span.own.to_string());
    assert_eq!(headers.get("tracestate").map(http::HeaderValue::as_bytes), span.state.as_deref().map(str::as_bytes));
    let bounded = |state: &str| state.len() <= 512 && state.split(',').count() <= 32;
    assert!(span.state.as_deref().is_none_or(bounded));
    for name in &NAMES[2..] {
        assert!(headers.get_all(*name).iter().count() <= 1);
    }
    assert_eq!(headers.contains_key("b3"), came.contains_key("b3"));

    // The next hop continues what this one wrote, by whichever words it reads.
    for words in ["both", "b3"] {
        if words == "b3" {
            headers.remove("traceparent");
            if !headers.contains_key("b3") && !headers.contains_key("x-b3-traceid") {
                break;
            }
        }
        let next = Context::read(&headers).child(Some(&sampling), RandomIds { trace: 9, span: 8 });
        assert_eq!((next.own.trace, next.parent), (span.own.trace, Some(span.own.span)), "{words}");
        assert_eq!(next.own.sampled(), span.own.sampled(), "{words}");
    }

    // Nobody traces: nothing is touched.
    let mut headers = came.clone();
    Context::read(&headers).child(None, random).write(&mut headers);
    assert_eq!(headers, came);
});
