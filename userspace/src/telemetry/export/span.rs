//! A request as a span, by OpenTelemetry's semantic conventions for HTTP and gRPC (stable since 1.23).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, Version};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use super::super::teller::Teller;
use super::Spanned;
use super::attributes::{Attributes, Resource, scope};
use super::client::Request;
use crate::model::{Direction, Exchange, Flags, Identity, RequestKind};

/// Most bytes of a path, and of other texts.
const PATH: usize = 2048;
const TEXT: usize = 256;

/// The message that exports these requests, workload by workload.
pub(super) fn request(configured: &[(String, String)], groups: &[(Arc<Teller>, Vec<Spanned>)]) -> Request {
    let of_workload = |(teller, spans): &(Arc<Teller>, Vec<Spanned>)| {
        let spans = spans.iter().map(|spanned| span(&spanned.exchange)).collect();
        ResourceSpans {
            resource: Resource::of(&teller.own, configured).wire(),
            scope_spans: vec![ScopeSpans { scope: scope(), spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }
    };
    Request::Spans(ExportTraceServiceRequest { resource_spans: groups.iter().map(of_workload).collect() })
}

/// Nanoseconds since 1970.
pub(super) fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn span(exchange: &Exchange) -> Span {
    let place = &exchange.span;
    let start = nanoseconds(exchange.began);
    let taken = u64::try_from(exchange.duration.as_nanos()).unwrap_or(u64::MAX);
    let (kind, side) = match exchange.direction {
        Direction::Outbound => (SpanKind::Client, Side::Client),
        Direction::Inbound => (SpanKind::Server, Side::Server),
    };
    let error = error(exchange, side);
    // The parent is another process's (opentelemetry/proto/trace/v1/trace.proto, SpanFlags).
    let remote = if place.parent.is_some() { 0x300 } else { 0x100 };
    Span {
        trace_id: place.own.trace.bytes().to_vec(),
        span_id: place.own.span.to_vec(),
        trace_state: place.state.as_deref().unwrap_or_default().to_owned(),
        parent_span_id: place.parent.map(|parent| parent.to_vec()).unwrap_or_default(),
        flags: u32::from(place.own.flags) | remote,
        name: name(exchange),
        kind: kind.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: start.saturating_add(taken),
        attributes: attributes(exchange, side, error.as_deref()).into_list(),
        status: error.map(|_| Status {
            code: StatusCode::Error.into(),
            message: exchange.fault.as_ref().map(ToString::to_string).unwrap_or_default(),
        }),
        ..Span::default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

fn name(exchange: &Exchange) -> String {
    if let Some((service, method)) = rpc(exchange) {
        return format!("{service}/{method}");
    }
    // Methods that are not known are not told in a name, which is to be one of few.
    let method = known_method(&exchange.request.method).unwrap_or("HTTP");
    match &exchange.route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    }
}

fn known_method(method: &Method) -> Option<&str> {
    let known = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
        Method::PATCH,
        Method::CONNECT,
        Method::TRACE,
    ];
    known.contains(method).then_some(method.as_str())
}

/// Service and method of gRPC, from the path.
fn rpc(exchange: &Exchange) -> Option<(&str, &str)> {
    if exchange.request.kind != RequestKind::Grpc {
        return None;
    }
    let path = exchange.request.target.strip_prefix('/')?;
    let (service, method) = path.split_once('/')?;
    let method = method.split('?').next()?;
    (service.len() + method.len() <= TEXT).then_some((service, method))
}

/// What went wrong in a word of few, if anything did from the view of this side.
fn error(exchange: &Exchange, side: Side) -> Option<String> {
    let Some(answer) = exchange.answer else {
        return Some(match &exchange.fault {
            Some(fault) => fault.source.kind().to_string().replace(' ', "_"),
            None => "_OTHER".to_owned(),
        });
    };
    if let (RequestKind::Grpc, Some(code)) = (exchange.request.kind, answer.grpc_status) {
        let failed = match side {
            Side::Client => code != 0,
            // Those that are the server's fault: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
            Side::Server => matches!(code, 2 | 4 | 12 | 13 | 14 | 15),
        };
        return failed.then(|| code.to_string());
    }
    let status = answer.status;
    let failed = match side {
        Side::Client => status.is_client_error() || status.is_server_error(),
        Side::Server => status.is_server_error(),
    };
    let broke = exchange.fault.as_ref().filter(|_| !failed);
    broke
        .map(|fault| fault.source.kind().to_string().replace(' ', "_"))
        .or_else(|| failed.then(|| status.as_str().to_owned()))
}

fn attributes(exchange: &Exchange, side: Side, error: Option<&str>) -> Attributes {
    let request = &exchange.request;
    let mut attributes = Attributes::default();
    match known_method(&request.method) {
        Some(method) => attributes.word("http.request.method", method),
        None => {
            attributes.word("http.request.method", "_OTHER");
            attributes.text("http.request.method_original", Some(request.method.as_str()), TEXT);
        }
    }
    let (path, query) = match request.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*request.target, None),
    };
    attributes.word("url.scheme", "http");
    attributes.text("url.path", Some(path), PATH);
    attributes.text("url.query", query, PATH);
    // Whatever stands before an @ is a secret.
    let authority = request.authority.as_deref().map(|it| it.rsplit('@').next().unwrap_or(it));
    let (host, port) = authority.map_or((None, None), |authority| split(authority));
    let original = exchange.original.map(|original| original.0);
    let original_ip = original.map(|address| address.ip().to_string());
    attributes.text("server.address", host.or(original_ip.as_deref()), TEXT);
    if let Some(port) = port.or(original.map(|address| address.port())) {
        attributes.number("server.port", port);
    }
    match side {
        Side::Client => {
            let host = authority.or(original_ip.as_deref()).unwrap_or_default();
            let full = format!("http://{host}{}", request.target);
            attributes.text("url.full", Some(&full), PATH);
            if let Some(upstream) = exchange.upstream {
                attributes.word("network.peer.address", &upstream.0.ip().to_string());
                attributes.number("network.peer.port", upstream.0.port());
            }
            if exchange.attempts > 1 {
                attributes.number("http.request.resend_count", exchange.attempts - 1);
            }
        }
        Side::Server => {
            let client = exchange.client.0;
            attributes.word("client.address", &client.ip().to_string());
            attributes.word("network.peer.address", &client.ip().to_string());
            attributes.number("network.peer.port", client.port());
        }
    }
    let version = match request.version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    };
    attributes.text("network.protocol.version", version, TEXT);
    attributes.text("user_agent.original", request.user_agent.as_deref(), TEXT);
    attributes.number("http.request.body.size", exchange.request_bytes);
    attributes.number("http.response.body.size", exchange.answer_bytes);
    if let Some(answer) = exchange.answer {
        attributes.number("http.response.status_code", answer.status.as_u16());
    }
    if let Some((service, method)) = rpc(exchange) {
        attributes.word("rpc.system", "grpc");
        attributes.text("rpc.service", Some(service), TEXT);
        attributes.text("rpc.method", Some(method), TEXT);
        if let Some(status) = exchange.answer.and_then(|answer| answer.grpc_status) {
            attributes.number("rpc.grpc.status_code", status);
        }
    }
    attributes.text("error.type", error, TEXT);
    ours(exchange, &mut attributes);
    attributes
}

/// What no convention has a name for.
fn ours(exchange: &Exchange, attributes: &mut Attributes) {
    attributes.text("sidestep.route", exchange.route.as_deref(), TEXT);
    let service = exchange.service.as_deref().map(|service| service.hostname.as_str());
    attributes.text("sidestep.service", service, TEXT);
    let name = |identity: &'_ Option<Identity>| identity.as_ref().map(|it| it.as_str().to_owned());
    attributes.text("sidestep.source_principal", name(&exchange.source_identity).as_deref(), PATH);
    attributes.text("sidestep.destination_principal", name(&exchange.destination_identity).as_deref(), PATH);
    attributes.text("sidestep.request_id", exchange.request.request_id.as_deref(), TEXT);
    if exchange.flags != Flags::default() {
        attributes.word("sidestep.response_flags", &exchange.flags.to_string());
    }
    if let Some(upstream) = exchange.upstream_duration {
        attributes.fraction("sidestep.upstream_ms", upstream.as_secs_f64() * 1000.0);
    }
}

/// Host and port of an authority; an IPv6 address without its brackets.
fn split(authority: &str) -> (Option<&str>, Option<u16>) {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    (Some(host).filter(|host| !host.is_empty()), port.and_then(|port| port.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::super::super::samples::{asked, unanswered};
    use super::super::attributes::shown;
    use super::*;
    use crate::model::Answer;

    fn has(span: &Span, expected: &[(&str, &str)]) {
        for (key, value) in expected {
            assert_eq!(shown(&span.attributes, key).as_deref(), Some(*value), "{key} of {span:?}");
        }
    }

    fn code(span: &Span) -> Option<i32> {
        span.status.as_ref().map(|status| status.code)
    }

    #[test]
    fn a_request_that_went_out_is_a_client_span() {
        let span = span(&asked());
        assert_eq!((span.name.as_str(), span.kind), ("GET shop/db/1", SpanKind::Client as i32));
        assert_eq!(span.trace_id, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        assert_eq!(span.span_id, [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]);
        assert!(span.parent_span_id.is_empty());
        assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 7_234_567);
        assert_eq!(code(&span), None);
        has(
            &span,
            &[
                ("http.request.method", "GET"),
                ("url.full", "http://db.shop/items?id=7"),
                ("url.path", "/items"),
                ("url.query", "id=7"),
                ("url.scheme", "http"),
                ("server.address", "db.shop"),
                ("server.port", "80"),
                ("network.peer.address", "10.0.0.9"),
                ("network.peer.port", "8080"),
                ("network.protocol.version", "1.1"),
                ("http.response.status_code", "200"),
                ("user_agent.original", "curl/8"),
                ("sidestep.service", "db.shop.svc.cluster.local"),
            ],
        );
        assert_eq!(shown(&span.attributes, "error.type"), None);
    }

    #[test]
    fn a_request_that_came_in_and_was_not_answered_is_a_server_span_with_an_error() {
        let span = span(&unanswered());
        assert_eq!((span.name.as_str(), span.kind), ("GET", SpanKind::Server as i32));
        assert_eq!(code(&span), Some(StatusCode::Error as i32));
        has(
            &span,
            &[
                ("client.address", "10.0.0.5"),
                ("error.type", "connection_reset"),
                ("sidestep.response_flags", "UC"),
            ],
        );
    }

    #[test]
    fn what_counts_as_an_error_depends_on_the_side() {
        for (status, grpc_status, client, server) in [
            (200, None, false, false),
            (404, None, true, false),
            (503, None, true, true),
            (200, Some(0), false, false),
            (200, Some(5), true, false),
            (200, Some(14), true, true),
        ] {
            for (direction, failed) in [(Direction::Outbound, client), (Direction::Inbound, server)] {
                let mut exchange = asked();
                exchange.direction = direction;
                exchange.answer =
                    Some(Answer { status: http::StatusCode::from_u16(status).unwrap(), grpc_status });
                if grpc_status.is_some() {
                    exchange.request.kind = RequestKind::Grpc;
                    exchange.request.target = "/shop.Orders/List".into();
                }
                let span = span(&exchange);
                let told = shown(&span.attributes, "error.type");
                assert_eq!(code(&span).is_some(), failed, "{status} {grpc_status:?} {direction:?}");
                assert_eq!(told.is_some(), failed);
            }
        }
    }

    #[test]
    fn grpc_is_named_by_its_service_and_method() {
        let mut exchange = asked();
        exchange.request.kind = RequestKind::Grpc;
        exchange.request.target = "/shop.Orders/List".into();
        let span = span(&exchange);
        assert_eq!(span.name, "shop.Orders/List");
        has(&span, &[("rpc.system", "grpc"), ("rpc.service", "shop.Orders"), ("rpc.method", "List")]);
    }

    #[test]
    fn a_method_that_is_not_known_makes_no_name() {
        let mut exchange = asked();
        exchange.request.method = Method::from_bytes(b"BREW").unwrap();
        exchange.route = None;
        let span = span(&exchange);
        assert_eq!(span.name, "HTTP");
        has(&span, &[("http.request.method", "_OTHER"), ("http.request.method_original", "BREW")]);
    }

    #[test]
    fn an_authority_is_taken_apart_and_keeps_no_secret() {
        assert_eq!(split("[::1]:80"), (Some("::1"), Some(80)));
        assert_eq!(split("host"), (Some("host"), None));
        assert_eq!(split("host:x"), (Some("host"), None));
        let mut exchange = asked();
        exchange.request.authority = Some("user:secret@db:81".into());
        let span = span(&exchange);
        has(
            &span,
            &[("server.address", "db"), ("server.port", "81"), ("url.full", "http://db:81/items?id=7")],
        );
        assert!(!format!("{span:?}").contains("secret"));
    }
}
