//! The server: every request its answer, by its media type.

use std::net::TcpListener;

use anyhow::{Context, Result};
use h2::server::{Connection, SendResponse};
use h2::{RecvStream, SendStream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use super::{EMPTY, GRPC, MESSAGE, eager, on_this_thread};

/// The same answer to every request that is no call: a hundred bytes.
const PAGE: &[u8] =
    b"The quick brown fox jumps over the lazy dog, and the lazy dog sleeps on until the pack comes home.\r\n";
/// Where spans are handed in (opentelemetry/proto/collector/trace/v1/trace_service.proto).
const COLLECTOR: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

type Data = &'static [u8];

/// Serves for ever.
pub(in super::super) fn serve(listener: TcpListener) {
    if let Err(error) = on_this_thread(accept(listener)) {
        eprintln!("HTTP/2 is not served any more: {error:#}");
    }
}

async fn accept(listener: TcpListener) -> Result<()> {
    listener.set_nonblocking(true).context("make a listener wait for nobody")?;
    let listener = tokio::net::TcpListener::from_std(listener).context("wait for connections")?;
    loop {
        // A client that goes is no concern of the others.
        if let Ok((stream, _)) = listener.accept().await
            && let Ok(stream) = stream.into_std().map_err(Into::into).and_then(eager)
        {
            spawn_local(async move { drop(converse(stream).await) });
        }
    }
}

async fn converse(stream: TcpStream) -> Result<()> {
    let mut connection: Connection<TcpStream, Data> =
        h2::server::Builder::new().handshake(stream).await.context("shake hands")?;
    while let Some(asked) = connection.accept().await {
        let (request, respond) = asked.context("read a request")?;
        if request.body().is_end_stream() {
            drop(answer(request, respond).await);
        } else {
            spawn_local(async move { drop(answer(request, respond).await) });
        }
    }
    Ok(())
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Data>) -> Result<()> {
    let is_call =
        request.headers().get(CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(GRPC.as_bytes()));
    let message = if request.uri().path() == COLLECTOR { EMPTY } else { MESSAGE };
    read_to_end(request.into_body()).await?;
    let mut response = Response::new(());
    let media_type = if is_call { GRPC } else { "text/plain" };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    let mut body: SendStream<Data> = respond.send_response(response, false).context("answer")?;
    if !is_call {
        return body.send_data(PAGE, true).context("send a body");
    }
    body.send_data(message, false).context("send a message")?;
    let status = (HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
    body.send_trailers(HeaderMap::from_iter([status])).context("send a status")
}

async fn read_to_end(mut body: RecvStream) -> Result<()> {
    while let Some(chunk) = body.data().await {
        let length = chunk.context("read a body")?.len();
        body.flow_control().release_capacity(length).context("make room")?;
    }
    Ok(())
}
