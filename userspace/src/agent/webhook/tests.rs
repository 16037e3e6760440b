//! The server as the API server meets it, and as others do.

use std::net::SocketAddr;
use std::path::Path;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

const NAME: &str = "sidestep-webhook.sidestep-system.svc";
const PATIENCE: Duration = Duration::from_secs(30);

/// A webhook in this process, and the authority that its clients believe.
struct Scene {
    address: SocketAddr,
    authority: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
    presented: Arc<Presented>,
    readiness: Readiness,
}

impl Scene {
    fn start() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        issue(&authority, directory.path());
        let presented = Presented::read(directory.path()).unwrap();
        let readiness = Readiness::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new(Settings::default(), readiness.clone(), &presented).unwrap();
        tokio::spawn(server.serve(listener).unwrap());
        Self { address, authority, directory, presented, readiness }
    }

    async fn tls(&self, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.authority.der().to_vec())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME).unwrap(), stream).await
    }

    /// What is answered to a request over HTTP/1.1.
    async fn ask(&self, request: Request<Full<Bytes>>) -> (StatusCode, String) {
        let stream = self.tls(b"http/1.1").await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let response = tokio::time::timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// The certificate that is presented.
    async fn certificate(&self) -> Vec<u8> {
        let stream = self.tls(b"http/1.1").await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }
}

/// Writes a certificate of this authority and its key, as a Secret is mounted.
fn issue(authority: &CertifiedIssuer<'static, KeyPair>, directory: &Path) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    std::fs::write(directory.join("tls.crt"), certificate.pem()).unwrap();
    std::fs::write(directory.join("tls.key"), key.serialize_pem()).unwrap();
}

fn post(content_type: Option<&str>, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = Request::post("/inject?timeout=5s").header("host", NAME);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    request.body(Full::new(body.into())).unwrap()
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", NAME).body(Full::default()).unwrap()
}

fn question(pod: &Value) -> Vec<u8> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "namespace": "shop",
            "operation": "CREATE",
            "userInfo": {},
            "object": pod,
        },
    });
    serde_json::to_vec(&review).unwrap()
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "generateName": "web-" },
        "spec": { "containers": [{ "name": "app", "image": "nginx" }] },
    })
}

fn is_injection(body: &str) -> bool {
    let answer: Value = serde_json::from_str(body).unwrap();
    let response = &answer["response"];
    response["allowed"] == true && response["patchType"] == "JSONPatch" && response["uid"] == "1"
}

#[tokio::test]
async fn a_pod_is_injected_over_http1() {
    let scene = Scene::start();
    let (status, body) = scene.ask(post(Some("application/json"), question(&pod()))).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert!(is_injection(&body), "{body}");
}

#[tokio::test]
async fn many_pods_are_injected_at_once_over_one_http2_connection() {
    let scene = Scene::start();
    let stream = scene.tls(b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let mut sender = sender.clone();
        asking.spawn(async move {
            let mut request = post(Some("application/json; charset=utf-8"), question(&pod()));
            *request.uri_mut() = format!("https://{NAME}/inject?timeout=5s").parse().unwrap();
            request.headers_mut().remove("host");
            let response = sender.send_request(request).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            is_injection(&String::from_utf8_lossy(&body))
        });
    }
    let answers = tokio::time::timeout(PATIENCE, asking.join_all()).await.unwrap();
    assert!(answers.len() == 100 && answers.into_iter().all(|injected| injected));
}

#[tokio::test]
async fn a_refused_pod_is_an_answer_and_not_a_failure() {
    let scene = Scene::start();
    let mut odd = pod();
    odd["spec"]["containers"][0]["name"] = json!("sidestep");
    let (status, body) = scene.ask(post(Some("application/json"), question(&odd))).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["response"]["allowed"]), (StatusCode::OK, &json!(false)));
    let message = answer["response"]["status"]["message"].as_str().unwrap();
    assert!(message.contains("a container named sidestep"), "{message}");
}

#[tokio::test]
async fn what_is_not_a_question_is_refused_with_the_reason() {
    let scene = Scene::start();
    let json = Some("application/json");
    let huge = vec![b' '; 4 * 1024 * 1024];
    for (request, status, expected) in [
        (post(json, "{"), 400, "expected an AdmissionReview"),
        (post(json, ""), 400, "expected an AdmissionReview"),
        (post(json, "[".repeat(100_000)), 400, "expected an AdmissionReview"),
        (post(json, r#"{"apiVersion":"v1","kind":"Pod"}"#), 400, "expected an AdmissionReview"),
        (post(Some("text/plain"), question(&pod())), 415, "expected Content-Type: application/json"),
        (post(Some("application/yaml"), question(&pod())), 415, "found application/yaml"),
        (post(None, question(&pod())), 415, "found none"),
        (post(json, huge), 413, "expected at most"),
        (get("/inject"), 405, "only POST"),
        (get("/"), 404, "there are"),
    ] {
        let what = format!("{} {}", request.method(), request.uri());
        let (found, body) = scene.ask(request).await;
        assert!(found.as_u16() == status && body.contains(expected), "{what}: {found}: {body}");
    }
    let (status, _) = scene.ask(post(json, question(&pod()))).await;
    assert_eq!(status, StatusCode::OK, "and it answers on");
}

#[tokio::test]
async fn a_body_that_says_nothing_of_its_length_is_counted() {
    let scene = Scene::start();
    let mut stream = scene.tls(b"http/1.1").await.unwrap();
    let head = format!(
        "POST /inject HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    // It may hang up before it has heard everything.
    for _ in 0..80 {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut answer = vec![0; 12];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap();
    assert!(read.is_err() || answer == b"HTTP/1.1 413", "{:?}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn readiness_follows_the_state_and_liveness_does_not() {
    let scene = Scene::start();
    for (state, status) in [(State::Starting, 503), (State::Ready, 200), (State::Draining, 503)] {
        scene.readiness.set(state);
        assert_eq!(scene.ask(get("/readyz")).await.0.as_u16(), status, "{state:?}");
        assert_eq!(scene.ask(get("/livez")).await.0.as_u16(), 200);
    }
}

#[tokio::test]
async fn who_speaks_no_tls_or_nothing_at_all_keeps_nobody_out() {
    let scene = Scene::start();
    let mut plain = TcpStream::connect(scene.address).await.unwrap();
    plain.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut answer)).await.unwrap();
    assert!(!answer.starts_with(b"HTTP"), "no answer in plain text");
    let mut silent = Vec::new();
    for _ in 0..140 {
        silent.push(TcpStream::connect(scene.address).await.unwrap());
    }
    // Served as soon as the silent ones have run into the timeout for their handshakes.
    let (status, _) = scene.ask(post(Some("application/json"), question(&pod()))).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_slow_body_is_given_up_and_others_are_answered_meanwhile() {
    let scene = Scene::start();
    let mut slow = scene.tls(b"http/1.1").await.unwrap();
    let head = format!(
        "POST /inject HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let (status, _) = scene.ask(post(Some("application/json"), question(&pod()))).await;
    assert_eq!(status, StatusCode::OK);
    let mut answer = vec![0; 12];
    tokio::time::timeout(PATIENCE, slow.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
}

#[tokio::test]
async fn a_renewed_certificate_is_presented_and_a_broken_one_is_not() {
    let scene = Scene::start();
    let path = scene.directory.path();
    let first = scene.certificate().await;
    let mut complained = None;
    scene.presented.look(&mut complained);
    assert_eq!(scene.certificate().await, first, "nothing is new");

    issue(&scene.authority, path);
    scene.presented.look(&mut complained);
    let second = scene.certificate().await;
    assert_ne!(second, first);

    let key = std::fs::read(path.join("tls.key")).unwrap();
    for (file, content, reason) in [
        ("tls.key", KeyPair::generate().unwrap().serialize_pem(), "tls.crt and tls.key"),
        ("tls.key", "none".to_owned(), "tls.key: expected a private key"),
        ("tls.crt", "none".to_owned(), "tls.crt: expected certificates as PEM"),
    ] {
        std::fs::write(path.join(file), content).unwrap();
        scene.presented.look(&mut complained);
        assert!(complained.as_ref().is_some_and(|it| it.contains(reason)), "{complained:?}");
        assert_eq!(scene.certificate().await, second, "the last good one stays");
        std::fs::write(path.join("tls.key"), &key).unwrap();
    }
    std::fs::remove_file(path.join("tls.crt")).unwrap();
    scene.presented.look(&mut complained);
    assert_eq!(scene.certificate().await, second);
    issue(&scene.authority, path);
    scene.presented.look(&mut complained);
    assert_eq!(complained, None);
    assert_ne!(scene.certificate().await, second);
}

#[test]
fn without_a_certificate_there_is_no_start() {
    let directory = tempfile::tempdir().unwrap();
    let error = format!("{:#}", Presented::read(directory.path()).unwrap_err());
    assert!(error.contains("expected the files tls.crt and tls.key"), "{error}");
}
