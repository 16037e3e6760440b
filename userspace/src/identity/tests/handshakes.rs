//! Two ends of TLS in memory, as the tunnel would use them.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, NamedGroup, ServerConfig, ServerConnection,
};
use tempfile::TempDir;

use super::forge::{DB, WEB, authority, domain, identity, obtain, signed_by};
use crate::identity::trust::{Revocation, SharedTrust, Trust};
use crate::identity::verifier::ServerVerifier;
use crate::identity::{Authority, CertificateFault, Certificates};

/// What a handshake led to, seen from both ends.
pub(super) struct Shaken {
    pub(super) client: Result<ClientConnection, Error>,
    pub(super) server: Result<ServerConnection, Error>,
}

/// Carries a handshake out. Each end that fails still gets its alert through.
pub(super) fn shake(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Shaken {
    let name = ServerName::try_from("10.0.0.9").unwrap();
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    let (mut client_failed, mut server_failed) = (None, None);
    loop {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let sent = !wire.is_empty();
        let mut rest = wire.as_slice();
        while server_failed.is_none() && !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server_failed = server.process_new_packets().err();
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let answered = !wire.is_empty();
        let mut rest = wire.as_slice();
        while client_failed.is_none() && !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client_failed = client.process_new_packets().err();
        }
        if !sent && !answered {
            break;
        }
    }
    Shaken { client: client_failed.map_or(Ok(client), Err), server: server_failed.map_or(Ok(server), Err) }
}

#[tokio::test]
async fn two_workloads_of_one_authority_meet() {
    let directory = TempDir::new().unwrap();
    authority(directory.path(), "cluster.local");
    let web = obtain(signed_by(directory.path(), WEB)).await;
    let db = obtain(signed_by(directory.path(), DB)).await;
    let shaken = shake(web.client(&[identity(DB)]).unwrap(), db.server().unwrap());
    let (client, server) = (shaken.client.unwrap(), shaken.server.unwrap());
    assert_eq!(db.peer(server.peer_certificates().unwrap()).unwrap(), identity(WEB));
    assert_eq!(web.peer(client.peer_certificates().unwrap()).unwrap(), identity(DB));
    assert_eq!(web.verify_again(client.peer_certificates().unwrap()), Ok(()));
    assert_eq!(client.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(server.server_name(), None, "no server name is sent");
    assert_eq!(client.negotiated_cipher_suite(), Some(cipher_suite::TLS13_AES_128_GCM_SHA256));
    assert_eq!(
        client.negotiated_key_exchange_group().unwrap().name(),
        NamedGroup::X25519MLKEM768,
        "the hybrid group is preferred"
    );
}

/// A workload of an authority of its own trust domain, and where the authority is.
async fn workload(name: &str) -> (TempDir, Arc<Certificates>) {
    let directory = TempDir::new().unwrap();
    authority(directory.path(), identity(name).trust_domain());
    let certificates = obtain(signed_by(directory.path(), name)).await;
    (directory, certificates)
}

/// Verifies servers by the authority in a directory.
fn believing(directory: &TempDir, expected: &str) -> Arc<ServerVerifier> {
    let authority = Authority::read(directory.path()).unwrap();
    let bundles = [(domain(identity(expected).trust_domain()), Arc::clone(authority.bundle()))].into();
    let trust = Arc::new(SharedTrust::new(Trust { bundles, revocation: Revocation::Off }));
    Arc::new(ServerVerifier { trust, expected: vec![identity(expected)] })
}

/// A client that believes an authority, shows no certificate, and is otherwise as rustls makes them with these algorithms.
fn stranger(directory: &TempDir, expected: &str, provider: CryptoProvider) -> Arc<ClientConfig> {
    let config =
        ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[&TLS13]).unwrap();
    let config = config.dangerous().with_custom_certificate_verifier(believing(directory, expected));
    Arc::new(config.with_no_client_auth())
}

/// A client's configuration that deviates from what ours would be.
fn deviating(
    certificates: &Certificates,
    expected: &str,
    deviate: impl FnOnce(&mut ClientConfig),
) -> Arc<ClientConfig> {
    let mut config = ClientConfig::clone(&certificates.client(&[identity(expected)]).unwrap());
    deviate(&mut config);
    Arc::new(config)
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let (directory, db) = workload(DB).await;
    let shaken = shake(stranger(&directory, DB, default_provider()), db.server().unwrap());
    assert_eq!(shaken.server.err(), Some(Error::NoCertificatesPresented));
    assert_eq!(shaken.client.err(), Some(Error::AlertReceived(AlertDescription::CertificateRequired)));
}

#[tokio::test]
async fn a_server_that_is_somebody_else_is_refused_with_both_names() {
    let (_directory, db) = workload(DB).await;
    let shaken = shake(db.client(&[identity(WEB)]).unwrap(), db.server().unwrap());
    let error = shaken.client.err().unwrap();
    let expected = CertificateFault::OtherIdentity { expected: WEB.to_owned(), found: identity(DB) };
    assert_eq!(CertificateFault::of(&error), Some(&expected));
    assert!(error.to_string().contains(WEB) && error.to_string().contains(DB), "{error}");
    assert_eq!(shaken.server.err(), Some(Error::AlertReceived(AlertDescription::CertificateUnknown)));
}

#[tokio::test]
async fn a_client_of_another_authority_is_refused() {
    let ((ours, db), (_theirs, web)) = (workload(DB).await, workload(WEB).await);
    let client =
        deviating(&web, DB, |config| config.dangerous().set_certificate_verifier(believing(&ours, DB)));
    let shaken = shake(client, db.server().unwrap());
    let expected = Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
    assert_eq!(shaken.server.err(), Some(expected));
    assert_eq!(shaken.client.err(), Some(Error::AlertReceived(AlertDescription::UnknownCA)));
}

#[tokio::test]
async fn a_client_that_offers_only_http_1_1_is_refused_and_one_that_offers_nothing_is_let_in() {
    let (_directory, db) = workload(DB).await;
    let http1 = deviating(&db, DB, |config| config.alpn_protocols = vec![b"http/1.1".to_vec()]);
    let shaken = shake(http1, db.server().unwrap());
    assert_eq!(shaken.server.err(), Some(Error::NoApplicationProtocol));
    assert_eq!(shaken.client.err(), Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)));
    let silent = deviating(&db, DB, |config| config.alpn_protocols.clear());
    let shaken = shake(silent, db.server().unwrap());
    assert!(shaken.client.is_ok());
    assert_eq!(shaken.server.unwrap().alpn_protocol(), None);
}

#[tokio::test]
async fn peers_without_the_hybrid_group_are_met_with_a_classic_one() {
    let (directory, db) = workload(DB).await;
    for (group, name) in
        [(kx_group::X25519, NamedGroup::X25519), (kx_group::SECP256R1, NamedGroup::secp256r1)]
    {
        let provider = CryptoProvider { kx_groups: vec![group], ..default_provider() };
        let shaken = shake(stranger(&directory, DB, provider), db.server().unwrap());
        // It fails for want of a certificate, which comes after the key exchange.
        assert_eq!(shaken.server.err(), Some(Error::NoCertificatesPresented), "{name:?}");
    }
    let provider = CryptoProvider { kx_groups: vec![kx_group::SECP384R1], ..default_provider() };
    let shaken = shake(stranger(&directory, DB, provider), db.server().unwrap());
    assert!(matches!(shaken.server.err(), Some(Error::PeerIncompatible(_))), "others are not taken");
}

#[tokio::test]
async fn a_client_without_aes_is_refused() {
    let (directory, db) = workload(DB).await;
    let cipher_suites = vec![cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    let provider = CryptoProvider { cipher_suites, ..default_provider() };
    let shaken = shake(stranger(&directory, DB, provider), db.server().unwrap());
    assert!(matches!(shaken.server.err(), Some(Error::PeerIncompatible(_))));
    assert_eq!(shaken.client.err(), Some(Error::AlertReceived(AlertDescription::HandshakeFailure)));
}

#[tokio::test]
async fn a_client_of_tls_1_2_is_told_the_version_is_wrong() {
    let (_directory, db) = workload(DB).await;
    let mut server = ServerConnection::new(db.server().unwrap()).unwrap();
    // A client hello without the extension supported_versions, which is what makes it one of TLS 1.2.
    let extensions = [
        &[0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x1d][..],
        &[0x00, 0x0b, 0x00, 0x02, 0x01, 0x00],
        &[0x00, 0x0d, 0x00, 0x06, 0x00, 0x04, 0x04, 0x03, 0x08, 0x04],
    ]
    .concat();
    let mut hello = vec![0x03, 0x03];
    hello.extend([0x5a; 32]);
    hello.extend([0x00, 0x00, 0x04, 0xc0, 0x2b, 0xc0, 0x2f, 0x01, 0x00, 0x00, extensions.len() as u8]);
    hello.extend(extensions);
    let mut record = vec![0x16, 0x03, 0x01, 0x00, hello.len() as u8 + 4, 0x01, 0x00, 0x00, hello.len() as u8];
    record.extend(hello);
    server.read_tls(&mut record.as_slice()).unwrap();
    let error = server.process_new_packets().unwrap_err();
    assert!(matches!(error, Error::PeerIncompatible(_)), "{error}");
    let mut answer = Vec::new();
    server.write_tls(&mut answer).unwrap();
    assert_eq!(answer[0], 0x15, "an alert");
    assert_eq!(answer[5..], [0x02, 70], "fatal: protocol_version");
}

#[tokio::test]
async fn nothing_is_left_behind_to_resume_from() {
    let (_directory, db) = workload(DB).await;
    let client = db.client(&[identity(DB)]).unwrap();
    for _ in 0..2 {
        let shaken = shake(Arc::clone(&client), db.server().unwrap());
        let client = shaken.client.unwrap();
        assert_eq!(client.tls13_tickets_received(), 0);
        assert_eq!(client.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}
