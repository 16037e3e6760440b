//! What policy does to connections and requests, when they come and when it changes.

use ::http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;
use crate::model::{Flag, RuleName, Ruling, Verdict};

/// What holds.
#[derive(Clone, Copy, Default)]
struct Law {
    /// What is denied of requests, by the beginning of their paths.
    path: Option<&'static str>,
    /// Whether everything is denied that is not HTTP.
    opaque: bool,
    /// Whether everything is denied.
    everything: bool,
}

/// Holds everybody to a law, which may change.
#[derive(Default)]
struct Doorkeeper(Mutex<Law>);

impl Doorkeeper {
    fn law(&self) -> Law {
        *self.0.lock().unwrap()
    }
}

fn said(denies: bool) -> Decided {
    let rule = Some(RuleName { policy: "shop/no".into(), rule: 0 });
    let ruling = if denies { Ruling::Denied(rule) } else { Ruling::Allowed(None) };
    Decided { ruling, ..Decided::default() }
}

impl Admission for Doorkeeper {
    fn admit(&self, _caller: Caller<'_>, _original: OriginalDst) -> Result<crate::proxy::Admitted, Refused> {
        let law = self.law();
        match law {
            Law { everything: true, .. } => Err(Refused::by_policy(said(true))),
            Law { path: None, opaque: false, .. } => Ok(crate::proxy::Admitted::Fully),
            _ => Ok(crate::proxy::Admitted::ByContent),
        }
    }

    fn opaque(&self, _caller: Caller<'_>, _original: OriginalDst) -> Decided {
        let law = self.law();
        said(law.opaque || law.everything)
    }

    fn request(
        &self,
        _caller: Caller<'_>,
        _original: OriginalDst,
        asked: Asked<'_>,
    ) -> Result<Decided, AmbiguousPath> {
        let path = crate::model::normalize(asked.uri.path(), crate::model::PathForm::Base)?;
        let law = self.law();
        Ok(said(law.everything || law.path.is_some_and(|denied| path.starts_with(denied))))
    }

    fn reads_requests(&self) -> bool {
        self.law().path.is_some()
    }

    fn probes(&self, _caller: Caller<'_>, _original: OriginalDst) -> Option<Arc<dyn Probing>> {
        None
    }

    fn outbound(&self, _destination: SocketAddr) -> Result<(), Reason> {
        if self.law().everything { Err(Reason::Rule) } else { Ok(()) }
    }
}

/// An instance that looks at nothing by itself, before an upstream of the test's own, held to a law.
struct Guarded {
    bench: Bench,
    upstream: TcpListener,
    keeper: Arc<Doorkeeper>,
}

impl Guarded {
    async fn by(law: Law, entry: Entry) -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let keeper = Arc::new(Doorkeeper(Mutex::new(law)));
        let destination = Mutex::new(Some(upstream.local_addr().unwrap()));
        let handoffs = Fixed { destination, ..Fixed::default() };
        let bench = Bench::held_to(keeper.clone(), Workers::here(), entry, LIMITS, handoffs);
        Self { bench, upstream, keeper }
    }

    /// Holds everything to another law.
    fn change(&self, law: Law) {
        *self.keeper.0.lock().unwrap() = law;
        self.bench.instance.reconsider();
    }

    async fn exchange(&self) -> Exchange {
        eventually(|| !self.bench.seen.exchanged.lock().unwrap().is_empty()).await;
        self.bench.seen.exchanged.lock().unwrap().remove(0)
    }

    async fn pair(&self) -> (TcpStream, TcpStream) {
        let mut client = self.bench.connect().await;
        client.write_all(b"\0").await.unwrap();
        let (mut served, _) = within(self.upstream.accept()).await.unwrap();
        assert_eq!(within(served.read_u8()).await.unwrap(), 0);
        (client, served)
    }
}

const NOTHING: Law = Law { path: None, opaque: false, everything: false };
const EVERYTHING: Law = Law { path: None, opaque: false, everything: true };

async fn is_reset(mut stream: TcpStream) {
    let ended = within(stream.read_u8()).await.unwrap_err();
    assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset);
}

fn is_denied(ended: &Ended) {
    assert_eq!((ended.verdict, ended.reason), (Verdict::Deny, Reason::Policy), "{ended:?}");
    assert_eq!(ended.decided.as_deref(), Some(&said(true)));
    let fault = ended.fault.as_ref().unwrap().to_string();
    assert!(fault.contains("the policy shop/no[0] denies it"), "{fault}");
}

#[tokio::test]
async fn what_is_not_http_is_decided_before_a_byte_is_handed_on() {
    let guarded = Guarded::by(Law { opaque: true, ..NOTHING }, Entry::Inbound).await;
    let mut client = guarded.bench.connect().await;
    client.write_all(b"\0\0\0 no HTTP").await.unwrap();
    is_reset(client).await;
    is_denied(&guarded.bench.ended().await);
    if let Ok(Ok((mut served, _))) =
        tokio::time::timeout(Duration::from_millis(50), guarded.upstream.accept()).await
    {
        assert!(!matches!(within(served.read(&mut [0; 16])).await, Ok(1..)), "bytes went to the app");
    }
}

#[tokio::test]
async fn requests_are_decided_for_themselves_where_nobody_looked_before() {
    let guarded = Guarded::by(Law { path: Some("/admin"), opaque: true, ..NOTHING }, Entry::Inbound).await;
    for (path, status) in [("/x/../admin", "403"), ("/a%zz", "400")] {
        let mut client = guarded.bench.connect().await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(client.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let exchange = guarded.exchange().await;
        if status == "403" {
            assert!(answer.ends_with("\r\n\r\nRBAC: access denied"), "{answer}");
            assert!(exchange.flags.has(Flag::Denied) && exchange.attempts == 0, "{exchange:?}");
            assert_eq!(exchange.decided.as_deref(), Some(&said(true)));
        }
    }
    let guarded = Guarded::by(guarded.keeper.law(), Entry::Inbound).await;
    let mut client = guarded.bench.connect().await;
    client.write_all(b"GET /shop HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let (mut served, _) = within(guarded.upstream.accept()).await.unwrap();
    let mut first = [0; 9];
    within(served.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"GET /shop");
}

#[tokio::test]
async fn a_change_resets_connections_that_it_denies_and_no_others() {
    for entry in [Entry::Inbound, Entry::Outbound] {
        let outbound = matches!(entry, Entry::Outbound);
        let guarded = Guarded::by(NOTHING, entry).await;
        let (mut client, mut served) = guarded.pair().await;
        let known = guarded.bench.instance.connections();
        assert_eq!(known.len(), 1, "{known:?}");
        assert_eq!(known[0].client.0, client.local_addr().unwrap());
        guarded.change(Law { path: outbound.then_some("/"), ..NOTHING });
        pass(&mut client, &mut served).await;
        // It was never looked at: it may have asked for anything.
        let all = if outbound { EVERYTHING } else { Law { path: Some("/"), opaque: true, ..NOTHING } };
        guarded.change(all);
        is_reset(client).await;
        is_reset(served).await;
        let ended = guarded.bench.ended().await;
        if outbound {
            assert_eq!((ended.verdict, ended.reason), (Verdict::Deny, Reason::Rule), "{ended:?}");
        } else {
            is_denied(&ended);
        }
        assert!(guarded.bench.instance.connections().is_empty());
    }
}

#[tokio::test]
async fn a_request_under_way_is_cut_with_its_connection_when_it_is_denied_by_now() {
    for kept in [true, false] {
        let law = Law { path: kept.then_some("/other"), opaque: true, ..NOTHING };
        let guarded = Guarded::by(law, Entry::Inbound).await;
        let mut client = guarded.bench.connect().await;
        client.write_all(b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let (mut served, _) = within(guarded.upstream.accept()).await.unwrap();
        served.write_all(b"HTTP/1.1 200 OK\r\n\r\nbeginning").await.unwrap();
        let mut heard = Vec::new();
        while !String::from_utf8_lossy(&heard).contains("beginning") {
            within(client.read_buf(&mut heard)).await.unwrap();
        }
        // Unless its head was kept, it may have asked for anything.
        guarded.change(Law {
            path: Some(if kept { "/stream" } else { "/never-asked" }),
            opaque: true,
            ..NOTHING
        });
        is_reset(client).await;
        let exchange = guarded.exchange().await;
        assert!(exchange.flags.has(Flag::Denied), "{exchange:?}");
        let ended = guarded.bench.ended().await;
        assert_eq!((ended.verdict, ended.reason), (Verdict::Deny, Reason::Policy), "{ended:?}");
    }
}

#[tokio::test]
async fn of_requests_that_share_a_connection_only_those_are_reset_that_are_denied_by_now() {
    let guarded = Guarded::by(Law { path: Some("/none"), opaque: true, ..NOTHING }, Entry::Inbound).await;
    let stream = guarded.bench.connect().await;
    let serving = async {
        let (stream, _) = guarded.upstream.accept().await.unwrap();
        let service = service_fn(|request: Request<Incoming>| async move {
            if request.uri().path() != "/quick" {
                std::future::pending::<()>().await;
            }
            Ok::<_, std::convert::Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
    };
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request =
        |path: &str| Request::builder().uri(format!("http://a{path}")).body(Empty::<Bytes>::new()).unwrap();
    let denied = tokio::spawn(sender.send_request(request("/denied")));
    let mut kept = tokio::spawn(sender.send_request(request("/kept")));
    within(serving).await;
    eventually(|| guarded.bench.instance.connections().iter().any(|live| live.requests == 2)).await;
    guarded.change(Law { path: Some("/denied"), opaque: true, ..NOTHING });
    assert!(within(denied).await.unwrap().is_err(), "it goes on");
    let exchange = guarded.exchange().await;
    assert!(exchange.flags.has(Flag::Denied) && &*exchange.request.target == "/denied", "{exchange:?}");
    let quick = within(sender.send_request(request("/quick"))).await.unwrap();
    assert_eq!(quick.status(), StatusCode::OK, "the connection stays");
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut kept).await.is_err(), "the other one ended");
    let refused = within(sender.send_request(request("/denied"))).await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
}
