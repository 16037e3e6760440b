//! A connection to the collector: TCP, within TLS where its endpoint says https.

use std::fs;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::codegen::Service;

/// Where distributions keep the authorities that the system trusts.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A stream of bytes, protected or not.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// Dials the collector.
#[derive(Clone)]
pub(super) struct Connector {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Connector {
    /// Dials that endpoint; `protocol` is what TLS is to agree on (RFC 7301).
    pub(super) fn new(endpoint: &Uri, protocol: &[u8], authorities: Option<&Path>) -> io::Result<Self> {
        let invalid = |message: &str| io::Error::new(io::ErrorKind::InvalidInput, message.to_owned());
        let host = endpoint.host().ok_or_else(|| invalid("expected an endpoint with a host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let secure = endpoint.scheme_str() == Some("https");
        let port = endpoint.port_u16().unwrap_or(if secure { 443 } else { 80 });
        if !secure {
            return Ok(Self { host, port, tls: None });
        }
        let name = ServerName::try_from(host.clone())
            .map_err(|_| invalid("expected an endpoint with a host name or an address"))?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots(authorities)?)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_owned()];
        Ok(Self { host, port, tls: Some((TlsConnector::from(Arc::new(config)), name)) })
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> io::Result<TokioIo<Box<dyn Transport>>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Transport> = match &self.tls {
            None => Box::new(stream),
            Some((tls, name)) => Box::new(tls.connect(name.clone(), stream).await?),
        };
        Ok(TokioIo::new(stream))
    }
}

fn roots(authorities: Option<&Path>) -> io::Result<RootCertStore> {
    let file: PathBuf = match authorities {
        Some(file) => file.to_owned(),
        None => {
            let found = SYSTEM.into_iter().find(|file| Path::new(file).exists());
            let missing = || {
                io::Error::new(
                    io::ErrorKind::NotFound,
                    format!(
                        "expected the system's certificate authorities in one of {}, found none; name a file (tracing.authorities)",
                        SYSTEM.join(", ")
                    ),
                )
            };
            found.ok_or_else(missing)?.into()
        }
    };
    let wrong =
        |what: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", file.display()));
    let text = fs::read(&file)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() { Err(wrong("expected certificates, found none".to_owned())) } else { Ok(roots) }
}

/// How a channel of gRPC asks for connections.
impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Transport>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _endpoint: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await })
    }
}
