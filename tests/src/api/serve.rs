//! Connections: TLS, then HTTP/1.1 or HTTP/2 as the client likes.

use std::convert::Infallible;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::answer::Desk;
use crate::eventually;

/// What listens, and everything that was accepted.
#[derive(Debug)]
pub(super) struct Server {
    tls: TlsServer,
    desk: Arc<Desk>,
    runtime: Handle,
    /// Ends with all of its connections when it is aborted.
    listening: Mutex<Option<Listening>>,
}

#[derive(Debug)]
struct Listening {
    task: AbortHandle,
    /// Held by whatever listens or serves.
    open: Weak<()>,
    cut: tokio::sync::watch::Sender<()>,
}

#[derive(Clone)]
struct TlsServer(TlsAcceptor);

impl std::fmt::Debug for TlsServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TlsServer")
    }
}

impl Server {
    /// One with the certificate of a directory; it does not listen yet.
    pub(super) fn new(home: &Path, desk: Arc<Desk>, runtime: Handle) -> Self {
        let chain = CertificateDer::pem_file_iter(home.join("tls.crt"))
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .unwrap_or_else(|error| panic!("read a certificate: {error}"));
        let key = PrivateKeyDer::from_pem_file(home.join("tls.key"))
            .unwrap_or_else(|error| panic!("read a key: {error}"));
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap_or_else(|error| panic!("use a certificate: {error}"));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let tls = TlsServer(TlsAcceptor::from(Arc::new(config)));
        Self { tls, desk, runtime, listening: Mutex::new(None) }
    }

    pub(super) fn up(&self, listener: TcpListener) {
        let (cut, mut cuts) = tokio::sync::watch::channel(());
        let (tls, desk) = (self.tls.clone(), Arc::clone(&self.desk));
        let held = Arc::new(());
        let open = Arc::downgrade(&held);
        let task = self.runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener)
                .unwrap_or_else(|error| panic!("listen in a runtime: {error}"));
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                        let (serving, held) = (serve(stream, tls.clone(), Arc::clone(&desk)), Arc::clone(&held));
                        connections.spawn(async move {
                            let _held = held;
                            serving.await;
                        });
                    },
                    Ok(()) = cuts.changed() => connections.abort_all(),
                    Some(_ended) = connections.join_next() => {}
                }
            }
        });
        *self.listening() = Some(Listening { task: task.abort_handle(), open, cut });
    }

    /// Nobody listens and no connection is left when this returns.
    pub(super) fn down(&self) {
        let Some(Listening { task, open, .. }) = self.listening().take() else { return };
        task.abort();
        // Connections end where they run, not here.
        eventually("every connection is cut", || {
            if open.strong_count() == 0 { Ok(()) } else { Err("some are open") }
        });
    }

    pub(super) fn disconnect(&self) {
        if let Some(listening) = self.listening().as_ref() {
            listening.cut.send_replace(());
        }
    }

    fn listening(&self) -> std::sync::MutexGuard<'_, Option<Listening>> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(stream: tokio::net::TcpStream, TlsServer(tls): TlsServer, desk: Arc<Desk>) {
    let Ok(stream) = tls.accept(stream).await else { return };
    let second = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(request).await) }
    });
    let stream = TokioIo::new(stream);
    // A client that goes away is no error of ours.
    let _ended = if second {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await
    } else {
        hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await
    };
}
