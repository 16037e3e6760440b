//! OTLP over gRPC and over HTTP: one message, one answer.

use std::io;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST, HeaderName, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::connect::Connector;
use super::{ExportProtocol, ExportSettings};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of an answer that are read.
const ANSWER: usize = 64 << 10;
const AGENT: &str = concat!("sidestep/", env!("CARGO_PKG_VERSION"));

/// One message.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Spans(ExportTraceServiceRequest),
    Records(ExportLogsServiceRequest),
}

/// Why a message was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may be another time; the collector may have said when.
    Later { after: Option<Duration>, why: String },
    /// It never will be.
    Refused { why: String },
}

impl Failure {
    #[expect(clippy::needless_pass_by_value, reason = "errors are handed in by map_err")]
    fn later(why: impl ToString) -> Self {
        Self::Later { after: None, why: why.to_string() }
    }
}

/// A collector. Connected to when there is something to send, and kept.
pub(super) struct Client {
    connector: Connector,
    endpoint: Uri,
    headers: HeaderMap,
    way: Way,
}

enum Way {
    Grpc(Option<Channel>),
    Http(Option<SendRequest<Full<Bytes>>>),
}

impl Client {
    /// Knows the collector; does not connect.
    ///
    /// # Errors
    /// The endpoint cannot be dialled, or the authorities cannot be read.
    pub(super) fn new(settings: &ExportSettings) -> io::Result<Self> {
        let (way, protocol) = match settings.protocol {
            ExportProtocol::Grpc => (Way::Grpc(None), &b"h2"[..]),
            ExportProtocol::Http => (Way::Http(None), &b"http/1.1"[..]),
        };
        let connector = Connector::new(&settings.endpoint, protocol, settings.authorities.as_deref())?;
        Ok(Self { connector, endpoint: settings.endpoint.clone(), headers: settings.headers.clone(), way })
    }

    /// Sends one message: how many items of it the collector rejected.
    pub(super) async fn send(&mut self, request: &Request) -> Result<u64, Failure> {
        let sent = async {
            match &mut self.way {
                Way::Grpc(channel) => {
                    let channel = match channel {
                        Some(channel) => channel.clone(),
                        None => {
                            let endpoint = Endpoint::from(self.endpoint.clone());
                            let endpoint = endpoint.user_agent(AGENT).map_err(Failure::later)?;
                            let opened = endpoint.connect_with_connector_lazy(self.connector.clone());
                            channel.insert(opened).clone()
                        }
                    };
                    grpc(channel, &self.headers, request).await
                }
                Way::Http(connection) => {
                    let post = post(&self.endpoint, &self.headers, request)?;
                    let sent = http(connection, &self.connector, post, request).await;
                    // A connection is used again only after an answer that was read as a whole.
                    if sent.is_err() {
                        *connection = None;
                    }
                    sent
                }
            }
        };
        tokio::time::timeout(TIMEOUT, sent).await.unwrap_or_else(|_late| {
            if let Way::Http(connection) = &mut self.way {
                *connection = None;
            }
            Err(Failure::later(format!("no answer within {TIMEOUT:?}")))
        })
    }
}

async fn grpc(channel: Channel, headers: &HeaderMap, request: &Request) -> Result<u64, Failure> {
    let metadata = MetadataMap::from_headers(headers.clone());
    match request {
        Request::Spans(spans) => {
            let request = tonic::Request::from_parts(metadata, tonic::Extensions::default(), spans.clone());
            let answer = TraceServiceClient::new(channel).export(request).await.map_err(|it| refusal(&it))?;
            Ok(answer.into_inner().partial_success.map_or(0, |part| rejected(part.rejected_spans)))
        }
        Request::Records(records) => {
            let request = tonic::Request::from_parts(metadata, tonic::Extensions::default(), records.clone());
            let answer = LogsServiceClient::new(channel).export(request).await.map_err(|it| refusal(&it))?;
            Ok(answer.into_inner().partial_success.map_or(0, |part| rejected(part.rejected_log_records)))
        }
    }
}

/// Which codes are worth another attempt (OTLP 1.x, "Failures" of OTLP/gRPC).
fn refusal(status: &Status) -> Failure {
    let why = format!("{:?}: {}", status.code(), status.message());
    let says_when = || status.details().windows(20).any(|part| part == b"google.rpc.RetryInfo");
    let again = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => says_when(),
        // What tonic makes of a connection that broke.
        Code::Unknown => std::error::Error::source(status).is_some(),
        _ => false,
    };
    if again { Failure::later(why) } else { Failure::Refused { why } }
}

fn rejected(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn post(
    endpoint: &Uri,
    headers: &HeaderMap,
    request: &Request,
) -> Result<http::Request<Full<Bytes>>, Failure> {
    let refused = |why: &dyn ToString| Failure::Refused { why: why.to_string() };
    let (what, body) = match request {
        Request::Spans(spans) => ("traces", spans.encode_to_vec()),
        Request::Records(records) => ("logs", records.encode_to_vec()),
    };
    let path = format!("{}/v1/{what}", endpoint.path().trim_end_matches('/'));
    let authority = endpoint.authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(authority).map_err(|error| refused(&error))?;
    let mut post = http::Request::builder()
        .method(Method::POST)
        .uri(path)
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| refused(&error))?;
    let fields: [(HeaderName, HeaderValue); 3] = [
        (HOST, host),
        (CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf")),
        (USER_AGENT, HeaderValue::from_static(AGENT)),
    ];
    *post.headers_mut() = headers.clone();
    post.headers_mut().extend(fields);
    Ok(post)
}

async fn http(
    connection: &mut Option<SendRequest<Full<Bytes>>>,
    connector: &Connector,
    post: http::Request<Full<Bytes>>,
    request: &Request,
) -> Result<u64, Failure> {
    let open = match connection.take().filter(|open| !open.is_closed()) {
        Some(open) => open,
        None => {
            let stream = connector.connect().await.map_err(Failure::later)?;
            let (open, driver) = http1::handshake(stream).await.map_err(Failure::later)?;
            // It ends with the connection; what goes wrong is told by the request that meets it.
            tokio::spawn(async move { drop(driver.await) });
            open
        }
    };
    let open = connection.insert(open);
    open.ready().await.map_err(Failure::later)?;
    let (head, body) = open.send_request(post).await.map_err(Failure::later)?.into_parts();
    let body = Limited::new(body, ANSWER).collect().await.map_err(Failure::later)?.to_bytes();
    match head.status {
        // Worth another attempt (OTLP 1.x, "Retryable Response Codes").
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            let said = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Err(Failure::Later { after: said.map(Duration::from_secs), why: head.status.to_string() })
        }
        status if status.is_success() => Ok(partial(request, body)),
        status => Err(Failure::Refused { why: status.to_string() }),
    }
}

/// How many items the collector rejected; one that says nothing that can be read took all.
fn partial(request: &Request, body: Bytes) -> u64 {
    match request {
        Request::Spans(_) => ExportTraceServiceResponse::decode(body)
            .ok()
            .and_then(|answer| answer.partial_success)
            .map_or(0, |part| rejected(part.rejected_spans)),
        Request::Records(_) => ExportLogsServiceResponse::decode(body)
            .ok()
            .and_then(|answer| answer.partial_success)
            .map_or(0, |part| rejected(part.rejected_log_records)),
    }
}
