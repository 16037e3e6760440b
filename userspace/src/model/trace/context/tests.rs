//! Headers in, headers out.

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const RANDOM: RandomIds =
    RandomIds { trace: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10, span: 0x1112_1314_1516_1718 };
const OWN: &str = "1112131415161718";
const NEW: &str = "0102030405060708090a0b0c0d0e0f10";

const NONE: f64 = 0.0;
const ALL: f64 = 1.0;

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let field = |&(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    let mut headers = HeaderMap::new();
    for (name, value) in fields.iter().map(field) {
        headers.append(name, value);
    }
    headers
}

fn span(ratio: f64, fields: &[(&str, &str)]) -> Span {
    let sampling = Sampling::new(ratio, Parents::Followed);
    Context::read(&map(fields)).child(Some(&sampling), RANDOM)
}

/// What goes on, sorted by name.
fn onward(ratio: f64, fields: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut headers = map(fields);
    let sampling = Sampling::new(ratio, Parents::Followed);
    Context::read(&headers).child(Some(&sampling), RANDOM).write(&mut headers);
    listed(&headers)
}

fn listed(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut list: Vec<_> =
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    list.sort();
    list
}

fn expected(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn a_request_that_says_nothing_begins_a_trace_that_the_ratio_decides_about() {
    assert_eq!(onward(ALL, &[]), expected(&[("traceparent", &format!("00-{NEW}-{OWN}-01"))]));
    assert_eq!(onward(NONE, &[]), expected(&[("traceparent", &format!("00-{NEW}-{OWN}-00"))]));
    assert_eq!(span(ALL, &[]).parent, None);
}

#[test]
fn a_w3c_trace_is_continued_with_its_state_and_its_decision() {
    let came = [
        ("traceparent", &*format!("00-{TRACE}-{PARENT}-01")),
        ("tracestate", "a=1"),
        ("tracestate", "b=2, c=3"),
        ("accept", "*/*"),
    ];
    assert_eq!(
        onward(NONE, &came),
        expected(&[
            ("accept", "*/*"),
            ("traceparent", &format!("00-{TRACE}-{OWN}-01")),
            ("tracestate", "a=1,b=2,c=3"),
        ])
    );
    let span = span(NONE, &came);
    assert_eq!(span.parent, Some([0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]));
    assert!(span.recorded() && span.known());
    let left = onward(ALL, &[("traceparent", &format!("00-{TRACE}-{PARENT}-00"))]);
    assert_eq!(left, expected(&[("traceparent", &format!("00-{TRACE}-{OWN}-00"))]));
}

#[test]
fn at_the_edge_a_decision_that_came_along_is_ignored_but_the_trace_goes_on() {
    let came = map(&[("traceparent", &format!("00-{TRACE}-{PARENT}-01"))]);
    let edge = Sampling::new(NONE, Parents::Ignored);
    let span = Context::read(&came).child(Some(&edge), RANDOM);
    assert_eq!(span.own.to_string(), format!("00-{TRACE}-{OWN}-00"));
    assert!(!span.recorded());
}

#[test]
fn a_malformed_or_repeated_traceparent_is_as_good_as_none_and_takes_its_state_with_it() {
    let good = format!("00-{TRACE}-{PARENT}-01");
    for came in [
        &[("traceparent", "nonsense"), ("tracestate", "a=1")][..],
        &[("traceparent", &good), ("traceparent", &good), ("tracestate", "a=1")],
        &[("tracestate", "a=1")],
    ] {
        let begun = expected(&[("traceparent", &format!("00-{NEW}-{OWN}-01"))]);
        assert_eq!(onward(ALL, came), begun, "{came:?}");
    }
}

#[test]
fn b3_goes_on_in_the_form_in_which_it_came_besides_w3c() {
    let single = format!("{TRACE}-{PARENT}-1-05e3ac9a4f6e3b90");
    let w3c = format!("00-{TRACE}-{OWN}-01");
    assert_eq!(
        onward(NONE, &[("b3", &single)]),
        expected(&[("b3", &format!("{TRACE}-{OWN}-1-{PARENT}")), ("traceparent", &w3c)])
    );
    let multi = [
        ("x-b3-traceid", TRACE),
        ("x-b3-spanid", PARENT),
        ("x-b3-parentspanid", "05e3ac9a4f6e3b90"),
        ("x-b3-sampled", "1"),
    ];
    assert_eq!(
        onward(NONE, &multi),
        expected(&[
            ("traceparent", &w3c),
            ("x-b3-parentspanid", PARENT),
            ("x-b3-sampled", "1"),
            ("x-b3-spanid", OWN),
            ("x-b3-traceid", TRACE),
        ])
    );
    let both: Vec<_> = multi.into_iter().chain([("b3", "garbage")]).collect();
    assert_eq!(onward(NONE, &both).len(), 6, "b3, traceparent and four");
}

#[test]
fn a_trace_of_64_bits_stays_one_in_b3_and_is_padded_in_w3c() {
    assert_eq!(
        onward(NONE, &[("b3", "a3ce929d0e0e4736-00f067aa0ba902b7-1")]),
        expected(&[
            ("b3", &format!("a3ce929d0e0e4736-{OWN}-1-{PARENT}")),
            ("traceparent", &format!("00-0000000000000000a3ce929d0e0e4736-{OWN}-01")),
        ])
    );
}

#[test]
fn debug_outlives_the_hop_in_both_forms() {
    let single = onward(NONE, &[("b3", &format!("{TRACE}-{PARENT}-d"))]);
    assert_eq!(single[0].1, format!("{TRACE}-{OWN}-d-{PARENT}"));
    let multi = [("x-b3-traceid", TRACE), ("x-b3-spanid", PARENT), ("x-b3-flags", "1")];
    let multi = onward(NONE, &multi);
    assert!(multi.contains(&("x-b3-flags".to_owned(), "1".to_owned())), "{multi:?}");
    assert!(!multi.iter().any(|(name, _)| name == "x-b3-sampled"), "{multi:?}");
}

#[test]
fn a_b3_decision_without_a_trace_decides_about_the_new_one() {
    for (came, sampled) in [("0", "00"), ("1", "01"), ("d", "01")] {
        let onward = onward(if came == "0" { ALL } else { NONE }, &[("b3", came)]);
        assert_eq!(onward[1].1, format!("00-{NEW}-{OWN}-{sampled}"), "{came}");
    }
    let onward = onward(ALL, &[("x-b3-sampled", "0")]);
    assert!(onward.contains(&("traceparent".to_owned(), format!("00-{NEW}-{OWN}-00"))), "{onward:?}");
}

#[test]
fn a_b3_trace_that_nobody_has_decided_about_is_ours_to_decide_about() {
    let came = [("b3", &*format!("{TRACE}-{PARENT}"))];
    assert!(span(ALL, &came).recorded());
    assert!(!span(NONE, &came).recorded());
}

#[test]
fn w3c_goes_before_b3() {
    let other = "ffffffffffffffffffffffffffffffff-eeeeeeeeeeeeeeee-0";
    let came = [("b3", other), ("traceparent", &*format!("00-{TRACE}-{PARENT}-01"))];
    assert_eq!(
        onward(NONE, &came),
        expected(&[
            ("b3", &format!("{TRACE}-{OWN}-1-{PARENT}")),
            ("traceparent", &format!("00-{TRACE}-{OWN}-01")),
        ])
    );
}

#[test]
fn malformed_b3_is_replaced_by_a_new_trace_in_its_form() {
    for came in [
        "",
        "2",
        "4bf92f3577b34da6",
        "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-x",
        "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1-00f067aa0ba902b7-1",
        "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1-short",
        "4bf92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b7-1",
        "4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-1",
        "00000000000000000000000000000000-00f067aa0ba902b7-1",
        "0000000000000000-00f067aa0ba902b7-1",
        "4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-1",
    ] {
        let begun =
            expected(&[("b3", &format!("{NEW}-{OWN}-1")), ("traceparent", &format!("00-{NEW}-{OWN}-01"))]);
        assert_eq!(onward(ALL, &[("b3", came)]), begun, "{came:?}");
    }
    for came in [
        &[("x-b3-traceid", TRACE), ("x-b3-traceid", TRACE), ("x-b3-spanid", PARENT)][..],
        &[("x-b3-traceid", TRACE)],
        &[("x-b3-spanid", PARENT)],
        &[("x-b3-traceid", TRACE), ("x-b3-spanid", "short")],
        &[("x-b3-traceid", TRACE), ("x-b3-spanid", PARENT), ("x-b3-sampled", "maybe")],
        &[("x-b3-traceid", TRACE), ("x-b3-spanid", PARENT), ("x-b3-sampled", "1"), ("x-b3-sampled", "0")],
    ] {
        assert_eq!(span(ALL, came).parent, None, "{came:?}");
    }
}

#[test]
fn where_nothing_is_traced_everything_goes_on_as_it_came() {
    let came = [
        ("traceparent", &*format!("00-{TRACE}-{PARENT}-01")),
        ("tracestate", "a=1"),
        ("tracestate", "B=?"),
        ("b3", "nonsense"),
    ];
    let mut headers = map(&came);
    let span = Context::read(&headers).child(None, RANDOM);
    assert_eq!(span.own.to_string(), format!("00-{TRACE}-{PARENT}-01"));
    assert!(span.known() && !span.recorded());
    span.write(&mut headers);
    assert_eq!(listed(&headers), listed(&map(&came)));

    let mut headers = HeaderMap::new();
    let span = Context::default().child(None, RANDOM);
    span.write(&mut headers);
    assert!(headers.is_empty() && !span.known() && !span.recorded());
}

#[test]
fn a_span_on_each_side_of_a_pair_and_one_of_the_next_call_make_one_chain() {
    let all = Sampling::new(ALL, Parents::Followed);
    let ids = |span| RandomIds { trace: 7, span };
    let mut headers = HeaderMap::new();
    let client = Context::read(&headers).child(Some(&all), ids(1));
    client.write(&mut headers);
    let server = Context::read(&headers).child(Some(&all), ids(2));
    server.write(&mut headers);
    // The app forwards headers and knows nothing of spans.
    let next = Context::read(&headers).child(Some(&all), ids(3));
    assert_eq!([client.own.trace, server.own.trace], [next.own.trace; 2]);
    assert_eq!(
        [client.parent, server.parent, next.parent],
        [None, Some(client.own.span), Some(server.own.span)]
    );
}

#[test]
fn identifiers_are_never_all_zero() {
    let span = Context::default().child(None, RandomIds { trace: 0, span: 0 });
    assert!(TraceParent::parse(span.own.to_string().as_bytes()).is_some());
}
