//! What a request says of the trace that it belongs to, and the span that a hop makes of it.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::b3::{self, Form};
use super::{Parents, Sampling, SpanId, TraceId, TraceParent, state};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// See [`state`].
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What a request said of the trace that it belongs to. The default one is of a request that said nothing.
///
/// W3C goes before B3; what is malformed or there twice counts as not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    parent: Option<Parent>,
    wish: Option<Wish>,
    state: Option<Box<str>>,
    b3: Option<Form>,
}

/// The span that ours becomes a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
}

/// What somebody before us decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The trace is not recorded.
    Leave,
    /// It is.
    Record,
    /// It is, whatever the samplers on its way say (B3's debug).
    Debug,
}

/// The bits that new identifiers are made of.
#[derive(Clone, Copy, Debug)]
pub struct RandomIds {
    /// For the trace, if one begins.
    pub trace: u128,
    /// For the span.
    pub span: u64,
}

impl RandomIds {
    /// All zero means no identifier (W3C Trace Context, sections 3.2.2.3 and 3.2.2.4).
    fn trace(self) -> TraceId {
        TraceId(self.trace.max(1).to_be_bytes())
    }

    fn span(self) -> SpanId {
        self.span.max(1).to_be_bytes()
    }
}

/// The place of one request in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which trace, this span in it, and whether it is recorded: what the next hop is told.
    pub own: TraceParent,
    /// The span that this one is a part of; absent at the root.
    pub parent: Option<SpanId>,
    /// `tracestate` as it came (W3C Trace Context, section 3.3).
    pub state: Option<Box<str>>,
    told: Told,
}

/// What the next hop is told of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Nothing: there is no trace.
    Nothing,
    /// What the hop before said, unchanged: we have no span in that trace.
    AsItCame,
    /// The span, in W3C's words, and in B3's if they came.
    Ours { b3: Option<Form>, debug: bool },
}

impl Context {
    /// Reads what the headers of a request say.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Self {
        let b3 = b3::read(headers);
        let form = b3.map(|(form, _)| form);
        if let Some(parent) = b3::only(headers, &TRACEPARENT).and_then(TraceParent::parse) {
            let wish = if parent.sampled() { Wish::Record } else { Wish::Leave };
            return Self {
                parent: Some(Parent { trace: parent.trace, span: parent.span }),
                wish: Some(wish),
                state: state::read(headers),
                b3: form,
            };
        }
        let said = b3.map(|(_, said)| said).unwrap_or_default();
        Self { parent: said.parent, wish: said.wish, state: None, b3: form }
    }

    /// The span of the request at this hop: a part of what was said, or the root of a new trace.
    ///
    /// Without a `sampling` nothing is traced here: a trace that came is named and handed on as it came, and none begins.
    #[must_use]
    pub fn child(self, sampling: Option<&Sampling>, random: RandomIds) -> Span {
        let trace = self.parent.map_or_else(|| random.trace(), |parent| parent.trace);
        let Some(sampling) = sampling else { return self.untraced(trace, random) };
        let wish = match sampling.parents() {
            Parents::Followed => self.wish,
            Parents::Ignored => None,
        };
        let sampled = match wish {
            Some(Wish::Leave) => false,
            Some(Wish::Record | Wish::Debug) => true,
            None => sampling.chooses(trace),
        };
        Span {
            own: TraceParent { trace, span: random.span(), flags: u8::from(sampled) },
            parent: self.parent.map(|parent| parent.span),
            state: self.state,
            told: Told::Ours { b3: self.b3, debug: wish == Some(Wish::Debug) },
        }
    }

    fn untraced(self, trace: TraceId, random: RandomIds) -> Span {
        let (span, told) = match self.parent {
            Some(parent) => (parent.span, Told::AsItCame),
            None => (random.span(), Told::Nothing),
        };
        let sampled = matches!(self.wish, Some(Wish::Record | Wish::Debug));
        Span {
            own: TraceParent { trace, span, flags: u8::from(sampled) },
            parent: None,
            state: self.state,
            told,
        }
    }
}

impl Span {
    /// Whether this hop has a span that is to be exported.
    #[must_use]
    pub const fn recorded(&self) -> bool {
        matches!(self.told, Told::Ours { .. }) && self.own.sampled()
    }

    /// Whether anybody else can know of the trace: whether it is worth a word in a log.
    #[must_use]
    pub const fn known(&self) -> bool {
        !matches!(self.told, Told::Nothing)
    }

    /// Puts the span into the headers of the request as it goes on, in place of what came.
    pub fn write(&self, headers: &mut HeaderMap) {
        let Told::Ours { b3, debug } = self.told else { return };
        b3::insert(headers, TRACEPARENT, format_args!("{}", self.own));
        match self.state.as_deref().map(HeaderValue::from_str) {
            Some(Ok(state)) => drop(headers.insert(TRACESTATE, state)),
            // Without its `traceparent` it means nothing (W3C Trace Context, section 4.3).
            Some(Err(_)) | None => drop(headers.remove(TRACESTATE)),
        }
        if let Some(form) = b3 {
            b3::write(self, form, debug, headers);
        }
    }
}

#[cfg(test)]
mod tests;
