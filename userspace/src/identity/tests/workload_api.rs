//! The source `workload-api`, against an agent that speaks just enough gRPC.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use h2::server::SendResponse;
use http::{HeaderMap, Response};
use hyper::body::Bytes;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::forge::{DB, HOUR, PATIENCE, WEB, authority, eventually, failed_with, identity, obtain, settings};
use super::handshakes::shake;
use crate::identity::{Authority, Settings, Source};

/// What an agent says: a message, or that the stream ends.
type Word = Option<Vec<u8>>;

/// An agent that sends what it is told to, to whoever asks, and newer messages as they come.
struct Agent {
    home: TempDir,
    authority: Authority,
    word: watch::Sender<Word>,
    task: JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Agent {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        let authority = authority(home.path(), "cluster.local");
        let (word, words) = watch::channel(None);
        let task = tokio::spawn(listen(home.path().join("agent.sock"), words));
        Self { home, authority, word, task }
    }

    fn settings(&self) -> Settings {
        settings(Source::WorkloadApi { socket: self.home.path().join("agent.sock") })
    }

    /// Issues for these identities, and hands out these other bundles.
    fn say(&self, names: &[&str], federated: &[(&str, &Path)]) {
        let mut message = Vec::new();
        for name in names {
            let out = TempDir::new().unwrap();
            self.authority.issue_into(out.path(), &identity(name), HOUR, SystemTime::now()).unwrap();
            let read = |name| fs::read(out.path().join(name)).unwrap();
            let chain = CertificateDer::pem_slice_iter(&read("tls.crt"))
                .flat_map(|der| der.unwrap().to_vec())
                .collect();
            let key = PrivateKeyDer::from_pem_slice(&read("tls.key")).unwrap().secret_der().to_vec();
            let svid = [
                field(1, name.as_bytes().to_vec()),
                field(2, chain),
                field(3, key),
                field(4, bundle(&out.path().join("ca.crt"))),
            ];
            message.extend(field(1, svid.concat()));
        }
        for (domain, path) in federated {
            let entry = [field(1, domain.as_bytes().to_vec()), field(2, bundle(path))];
            message.extend(field(3, entry.concat()));
        }
        self.word.send_replace(Some(message));
    }

    /// Says something that is no answer.
    fn babble(&self) {
        self.word.send_replace(Some(field(1, field(1, b"nonsense".to_vec()))));
    }
}

fn bundle(path: &Path) -> Vec<u8> {
    let pem = fs::read(path).unwrap();
    CertificateDer::pem_slice_iter(&pem).flat_map(|der| der.unwrap().to_vec()).collect()
}

/// A length-delimited field of protobuf.
fn field(number: u8, content: Vec<u8>) -> Vec<u8> {
    let mut encoded = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        encoded.push(length as u8 | 0x80);
        length >>= 7;
    }
    encoded.push(length as u8);
    encoded.extend(content);
    encoded
}

async fn listen(socket: PathBuf, words: watch::Receiver<Word>) {
    let listener = UnixListener::bind(socket).unwrap();
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, words.clone()));
    }
}

async fn serve(stream: UnixStream, words: watch::Receiver<Word>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut answers = tokio::task::JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        assert_eq!(request.uri().path(), "/SpiffeWorkloadAPI/FetchX509SVID");
        assert_eq!(request.headers()["workload.spiffe.io"], "true");
        answers.spawn(answer(respond, words.clone()));
    }
}

/// Sends each message, and ends the stream when it is told nothing.
async fn answer(mut respond: SendResponse<Bytes>, mut words: watch::Receiver<Word>) {
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut stream = respond.send_response(head, false).unwrap();
    loop {
        let Some(message) = words.borrow_and_update().clone() else { break };
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend(message);
        if stream.send_data(frame.into(), false).is_err() || words.changed().await.is_err() {
            return;
        }
    }
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "14".parse().unwrap())]);
    let _: Result<_, _> = stream.send_trailers(trailers);
}

#[tokio::test]
async fn certificates_and_the_bundles_of_several_domains_come_from_the_agent() {
    let (agent, there) = (Agent::new(), TempDir::new().unwrap());
    let partner = authority(there.path(), "partner.org");
    agent.say(&[WEB], &[("spiffe://partner.org", &there.path().join("ca.crt"))]);
    let certificates = obtain(agent.settings()).await;
    assert_eq!(certificates.identity(), identity(WEB));
    let standing = certificates.standing();
    assert_eq!(standing.bundles.keys().collect::<Vec<_>>(), ["cluster.local", "partner.org"]);
    let guest = partner.issue(&identity("spiffe://partner.org/ns/a/sa/b"), HOUR, SystemTime::now()).unwrap();
    assert_eq!(certificates.verify_again(guest.chain()), Ok(()));
    assert!(
        shake(certificates.client(&[identity(WEB)]).unwrap(), certificates.server().unwrap()).client.is_ok()
    );
}

#[tokio::test]
async fn what_the_agent_sends_later_is_used_at_once() {
    let (agent, there) = (Agent::new(), TempDir::new().unwrap());
    authority(there.path(), "partner.org");
    agent.say(&[WEB], &[]);
    let certificates = obtain(agent.settings()).await;
    let (before, mut changes) = (certificates.standing(), certificates.changes());
    agent.say(&[WEB], &[("spiffe://partner.org", &there.path().join("ca.crt"))]);
    let standing = eventually(&certificates, "rotated", |standing| standing.rotations == 1).await;
    assert_ne!(standing.serial, before.serial);
    tokio::time::timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
}

#[tokio::test]
async fn of_several_certificates_the_expected_one_is_taken() {
    let agent = Agent::new();
    agent.say(&[WEB, DB], &[]);
    let settings = Settings { expected: Some(identity(DB)), ..agent.settings() };
    assert_eq!(obtain(settings).await.identity(), identity(DB));
    assert_eq!(obtain(agent.settings()).await.identity(), identity(WEB), "the first without one");
}

#[tokio::test]
async fn an_agent_that_ends_the_stream_is_asked_again() {
    let agent = Agent::new();
    agent.say(&[WEB], &[]);
    let certificates = obtain(agent.settings()).await;
    agent.word.send_replace(None);
    eventually(&certificates, "failed", |standing| failed_with(standing, "Workload API", false)).await;
    assert!(certificates.server().is_ok(), "the old one stays in use");
    agent.say(&[WEB], &[]);
    let standing = eventually(&certificates, "recovered", |standing| standing.rotations == 1).await;
    assert!(failed_with(&standing, "Workload API", true));
}

#[tokio::test]
async fn an_agent_that_restarts_is_found_again() {
    let mut agent = Agent::new();
    agent.say(&[WEB], &[]);
    let certificates = obtain(agent.settings()).await;
    agent.task.abort();
    fs::remove_file(agent.home.path().join("agent.sock")).unwrap();
    eventually(&certificates, "failed", |standing| failed_with(standing, "Workload API", false)).await;
    agent.task = tokio::spawn(listen(agent.home.path().join("agent.sock"), agent.word.subscribe()));
    agent.say(&[WEB], &[]);
    eventually(&certificates, "recovered", |standing| standing.rotations == 1).await;
}

#[tokio::test]
async fn an_agent_that_babbles_leaves_the_old_one_in_use() {
    let agent = Agent::new();
    agent.say(&[WEB], &[]);
    let certificates = obtain(agent.settings()).await;
    agent.babble();
    eventually(&certificates, "failed", |standing| failed_with(standing, "Workload API", false)).await;
    assert!(certificates.server().is_ok());
    agent.say(&[WEB], &[]);
    eventually(&certificates, "recovered", |standing| standing.rotations == 1).await;
}
