//! What a field of a connection or of a request is.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use http::Version;

use super::super::workload::Own;
use super::Event;
use crate::model::{
    Answer, Decided, Ended, Exchange, Fault, Field, Flags, Identity, Protocol, RequestKind, Service, Span,
    SpanId, Tier, TraceId,
};

/// The value of a field.
#[derive(Debug)]
pub(in super::super) enum Value<'a> {
    /// It is not known, or does not apply.
    Null,
    /// One of our own words.
    Word(&'static str),
    /// What others wrote, and how many bytes of it are told at most.
    Text(Cow<'a, str>, usize),
    Address(SocketAddr),
    Trace(TraceId),
    Span(SpanId),
    Flags(Flags),
    Number(u64),
    Milliseconds(Duration),
    Time(SystemTime),
}

/// Most bytes that are told of texts. All of them together, with the names of the fields, make a line that a pipe takes as
/// a whole (PIPE_BUF), if only names and identities are as long as they usually are.
const METHOD: usize = 32;
const HOST: usize = 256;
const PATH: usize = 1024;
const AGENT: usize = 256;
const REQUEST_ID: usize = 128;
const NAME: usize = 512;
const ERROR: usize = 512;

/// What `field` is of `event`.
pub(in super::super) fn value<'a>(field: Field, event: &'a Event, own: &'a Own) -> Value<'a> {
    match (field, event) {
        (Field::Workload, _) => Value::name(&own.name),
        (_, Event::Connection(ended)) => of_connection(field, ended),
        (_, Event::Request(exchange)) => of_request(field, exchange),
    }
}

fn of_connection(field: Field, ended: &Ended) -> Value<'_> {
    match field {
        Field::Time => Value::Time(ended.began),
        Field::Direction => Value::Word(ended.direction.word()),
        Field::Source => Value::or_null(ended.client.map(|address| Value::Address(address.0))),
        Field::OriginalDestination => Value::or_null(ended.original.map(|address| Value::Address(address.0))),
        Field::Upstream => Value::or_null(ended.upstream.map(|address| Value::Address(address.0))),
        Field::Verdict => Value::Word(ended.verdict.word()),
        Field::Reason => Value::Word(ended.reason.word()),
        Field::Connection => Value::or_null(ended.connection.map(Value::Number)),
        Field::Policy => Value::told(ended.decided.as_deref().and_then(Decided::policy)),
        Field::WouldBe => Value::told(ended.decided.as_deref().and_then(Decided::would_be)),
        Field::Audit => Value::told(ended.decided.as_deref().and_then(Decided::audit)),
        Field::Tier => Value::Word(ended.tier.word()),
        Field::Protocol => Value::or_null(ended.protocol.map(Protocol::word).map(Value::Word)),
        Field::Sni => Value::text(ended.sni.as_deref(), HOST),
        Field::Requests => Value::Number(ended.requests),
        Field::Service => Value::service(ended.service.as_deref()),
        Field::SourcePrincipal => Value::identity(ended.source_identity.as_ref()),
        Field::DestinationPrincipal => Value::identity(ended.destination_identity.as_ref()),
        Field::PeerWorkload => Value::text(ended.peer_workload.as_deref(), HOST),
        Field::TraceId => Value::or_null(ended.trace_id.map(Value::Trace)),
        Field::BytesSent => Value::Number(ended.traffic.sent),
        Field::BytesReceived => Value::Number(ended.traffic.received),
        Field::DurationMs => Value::Milliseconds(ended.duration),
        Field::Error => Value::error(ended.fault.as_ref()),
        Field::ErrorSide => Value::side(ended.fault.as_ref()),
        Field::Workload
        | Field::Method
        | Field::Authority
        | Field::Path
        | Field::Status
        | Field::GrpcStatus
        | Field::ResponseFlags
        | Field::Route
        | Field::SpanId
        | Field::ParentSpanId
        | Field::RequestId
        | Field::UserAgent
        | Field::UpstreamMs
        | Field::ProxyMs
        | Field::Attempts => Value::Null,
    }
}

fn of_request(field: Field, exchange: &Exchange) -> Value<'_> {
    let request = &exchange.request;
    let known = Some(&exchange.span).filter(|span| span.known());
    match field {
        Field::Time => Value::Time(exchange.began),
        Field::Direction => Value::Word(exchange.direction.word()),
        Field::Source => Value::Address(exchange.client.0),
        Field::OriginalDestination => {
            Value::or_null(exchange.original.map(|address| Value::Address(address.0)))
        }
        Field::Upstream => Value::or_null(exchange.upstream.map(|address| Value::Address(address.0))),
        Field::Connection => Value::or_null(exchange.connection.map(Value::Number)),
        Field::Policy => Value::told(exchange.decided.as_deref().and_then(Decided::policy)),
        Field::WouldBe => Value::told(exchange.decided.as_deref().and_then(Decided::would_be)),
        Field::Audit => Value::told(exchange.decided.as_deref().and_then(Decided::audit)),
        Field::Tier => Value::Word(Tier::Http.word()),
        Field::Protocol => Value::Word(protocol(exchange)),
        Field::Method => Value::text(Some(request.method.as_str()), METHOD),
        Field::Authority => Value::text(request.authority.as_deref(), HOST),
        Field::Path => Value::text(Some(&request.target), PATH),
        Field::Status => {
            Value::or_null(exchange.answer.map(|answer| Value::Number(answer.status.as_u16().into())))
        }
        Field::GrpcStatus => Value::or_null(exchange.answer.and_then(grpc_status)),
        Field::ResponseFlags => Value::Flags(exchange.flags),
        Field::Route => Value::text(exchange.route.as_deref(), HOST),
        Field::Service => Value::service(exchange.service.as_deref()),
        Field::SourcePrincipal => Value::identity(exchange.source_identity.as_ref()),
        Field::DestinationPrincipal => Value::identity(exchange.destination_identity.as_ref()),
        Field::PeerWorkload => Value::or_null(
            exchange
                .peer
                .as_ref()
                .map(|peer| Value::Text(format!("{}/{}", peer.identity.namespace(), peer.name).into(), NAME)),
        ),
        Field::TraceId => Value::or_null(known.map(|span| Value::Trace(span.own.trace))),
        Field::SpanId => Value::or_null(known.map(|Span { own, .. }| Value::Span(own.span))),
        Field::ParentSpanId => Value::or_null(known.and_then(|span| span.parent).map(Value::Span)),
        Field::RequestId => Value::text(request.request_id.as_deref(), REQUEST_ID),
        Field::UserAgent => Value::text(request.user_agent.as_deref(), AGENT),
        Field::BytesSent => Value::Number(exchange.request_bytes),
        Field::BytesReceived => Value::Number(exchange.answer_bytes),
        Field::DurationMs => Value::Milliseconds(exchange.duration),
        Field::UpstreamMs => Value::or_null(exchange.upstream_duration.map(Value::Milliseconds)),
        Field::ProxyMs => Value::Milliseconds(
            exchange.duration.saturating_sub(exchange.upstream_duration.unwrap_or_default()),
        ),
        Field::Attempts => Value::Number(exchange.attempts.into()),
        Field::Error => Value::error(exchange.fault.as_ref()),
        Field::ErrorSide => Value::side(exchange.fault.as_ref()),
        Field::Workload | Field::Verdict | Field::Reason | Field::Sni | Field::Requests => Value::Null,
    }
}

/// What was spoken by whoever asked.
fn protocol(exchange: &Exchange) -> &'static str {
    match (exchange.request.kind, exchange.request.version) {
        (RequestKind::Grpc, _) => "grpc",
        (RequestKind::Http, Version::HTTP_10) => "http/1.0",
        (RequestKind::Http, Version::HTTP_11) => "http/1.1",
        (RequestKind::Http, Version::HTTP_2) => "http/2",
        (RequestKind::Http, _) => "http",
    }
}

fn grpc_status(answer: Answer) -> Option<Value<'static>> {
    answer.grpc_status.map(|status| Value::Number(status.into()))
}

impl<'a> Value<'a> {
    fn or_null(value: Option<Self>) -> Self {
        value.unwrap_or(Self::Null)
    }

    fn text(text: Option<&'a str>, most: usize) -> Self {
        Self::or_null(text.map(|text| Self::Text(Cow::Borrowed(text), most)))
    }

    const fn name(name: &'a str) -> Self {
        Self::Text(Cow::Borrowed(name), NAME)
    }

    fn identity(identity: Option<&'a Identity>) -> Self {
        Self::or_null(identity.map(|identity| Self::name(identity.as_str())))
    }

    fn service(service: Option<&'a Service>) -> Self {
        Self::or_null(service.map(|service| Self::name(&service.hostname)))
    }

    fn told(text: Option<String>) -> Self {
        Self::or_null(text.map(|text| Self::Text(text.into(), NAME)))
    }

    fn error(fault: Option<&Fault>) -> Self {
        Self::or_null(fault.map(|fault| Self::Text(fault.to_string().into(), ERROR)))
    }

    fn side(fault: Option<&Fault>) -> Self {
        Self::or_null(fault.map(|fault| Self::Word(fault.side.word())))
    }
}
