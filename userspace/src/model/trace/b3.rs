//! The trace context of Zipkin: one header `b3`, or several `X-B3-…` (openzipkin/b3-propagation).

use std::fmt::{self, Write as _};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::context::{Parent, Span, Wish};
use super::{TraceId, bytes};

const SINGLE: HeaderName = HeaderName::from_static("b3");
const TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
const SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
const PARENT_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");
const MULTI: [HeaderName; 5] = [TRACE_ID, SPAN_ID, PARENT_SPAN_ID, SAMPLED, FLAGS];

/// How the headers came, and so how they go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `b3`.
    Single,
    /// `X-B3-TraceId` and so on.
    Multi,
    /// Both.
    Both,
}

/// What was said by them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The trace; there may be a wish alone.
    pub(super) parent: Option<Parent>,
    /// Whether it is to be recorded; left open where absent.
    pub(super) wish: Option<Wish>,
}

/// The form that the headers came in, and what they say, where they are well formed; `b3` goes before the others.
pub(super) fn read(headers: &HeaderMap) -> Option<(Form, Said)> {
    let single = headers.contains_key(SINGLE);
    let multi = MULTI.iter().any(|name| headers.contains_key(name));
    let form = match (single, multi) {
        (true, true) => Form::Both,
        (true, false) => Form::Single,
        (false, true) => Form::Multi,
        (false, false) => return None,
    };
    let of_single = || only(headers, &SINGLE).and_then(read_single);
    let of_multi = || read_multi(headers);
    let said = match form {
        Form::Single => of_single(),
        Form::Multi => of_multi(),
        Form::Both => of_single().or_else(of_multi),
    };
    Some((form, said.unwrap_or_default()))
}

/// `{trace}-{span}[-{sampled}[-{parent}]]`, or `{sampled}` alone.
fn read_single(text: &[u8]) -> Option<Said> {
    let mut parts = text.split(|byte| *byte == b'-');
    let (first, second, third, fourth) = (parts.next()?, parts.next(), parts.next(), parts.next());
    if parts.next().is_some() {
        return None;
    }
    let Some(span) = second else {
        return Some(Said { parent: None, wish: Some(wish(first)?) });
    };
    // The parent of the span is of no use to us, but it has to be one.
    if fourth.is_some_and(|parent| span_id(parent).is_none()) {
        return None;
    }
    let parent = Parent { trace: trace_id(first)?, span: span_id(span)? };
    let wish = match third {
        Some(sampled) => Some(wish(sampled)?),
        None => None,
    };
    Some(Said { parent: Some(parent), wish })
}

fn read_multi(headers: &HeaderMap) -> Option<Said> {
    let wish = match (only(headers, &FLAGS), only(headers, &SAMPLED)) {
        (Some(b"1"), _) => Some(Wish::Debug),
        (_, Some(b"d")) => return None,
        (_, Some(sampled)) => Some(wish(sampled)?),
        (_, None) if headers.contains_key(SAMPLED) => return None,
        (_, None) => None,
    };
    if !headers.contains_key(TRACE_ID) {
        return Some(Said { parent: None, wish });
    }
    let trace = trace_id(only(headers, &TRACE_ID)?)?;
    let span = span_id(only(headers, &SPAN_ID)?)?;
    Some(Said { parent: Some(Parent { trace, span }), wish })
}

fn wish(text: &[u8]) -> Option<Wish> {
    match text {
        // The words are from before the specification, and still sent.
        b"1" | b"true" => Some(Wish::Record),
        b"0" | b"false" => Some(Wish::Leave),
        b"d" => Some(Wish::Debug),
        _ => None,
    }
}

/// 128 bits, or 64, which are the lower ones of 128.
fn trace_id(text: &[u8]) -> Option<TraceId> {
    let id = match text.len() {
        32 => bytes(text)?,
        16 => u128::from(u64::from_be_bytes(bytes(text)?)).to_be_bytes(),
        _ => return None,
    };
    (id != [0; 16]).then_some(TraceId(id))
}

fn span_id(text: &[u8]) -> Option<[u8; 8]> {
    (text.len() == 16).then(|| bytes(text)).flatten().filter(|id| *id != [0; 8])
}

/// The value of a header that is there once.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}

/// Writes `span` in the form that the headers came in, in place of what came.
pub(super) fn write(span: &Span, form: Form, debug: bool, headers: &mut HeaderMap) {
    headers.remove(SINGLE);
    for name in MULTI {
        headers.remove(name);
    }
    let state = match (debug, span.own.sampled()) {
        (true, true) => "d",
        (false, true) => "1",
        (_, false) => "0",
    };
    if matches!(form, Form::Single | Form::Both) {
        let (trace, own) = (Trace(span.own.trace), Hexadecimal(&span.own.span));
        match &span.parent {
            Some(parent) => {
                insert(headers, SINGLE, format_args!("{trace}-{own}-{state}-{}", Hexadecimal(parent)));
            }
            None => insert(headers, SINGLE, format_args!("{trace}-{own}-{state}")),
        }
    }
    if matches!(form, Form::Multi | Form::Both) {
        insert(headers, TRACE_ID, format_args!("{}", Trace(span.own.trace)));
        insert(headers, SPAN_ID, format_args!("{}", Hexadecimal(&span.own.span)));
        if let Some(parent) = &span.parent {
            insert(headers, PARENT_SPAN_ID, format_args!("{}", Hexadecimal(parent)));
        }
        // Debug says that it is sampled, which is then not said twice.
        if state == "d" {
            insert(headers, FLAGS, format_args!("1"));
        } else {
            insert(headers, SAMPLED, format_args!("{state}"));
        }
    }
}

/// A trace as it is written here: those of 64 bits, as they are made by older systems, in 16 digits.
struct Trace(TraceId);

impl fmt::Display for Trace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = &self.0.0;
        let short = bytes.starts_with(&[0; 8]);
        super::hexadecimal(formatter, if short { &bytes[8..] } else { bytes })
    }
}

struct Hexadecimal<'a>(&'a [u8]);

impl fmt::Display for Hexadecimal<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::hexadecimal(formatter, self.0)
    }
}

/// Puts a value of digits and dashes.
pub(super) fn insert(headers: &mut HeaderMap, name: HeaderName, value: fmt::Arguments<'_>) {
    let mut text = String::with_capacity(70);
    let _infallible = text.write_fmt(value);
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(name, value);
    }
}
