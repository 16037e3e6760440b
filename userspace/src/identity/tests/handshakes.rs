//! Two ends of TLS in memory, as the tunnel would use them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Error, ServerConfig, ServerConnection};
use tempfile::TempDir;

use super::forge::{DB, HOUR, WEB, authority, domain, identity};
use crate::identity::{Authority, CertificateFault, Certificates, Settings, Source};

const PATIENCE: Duration = Duration::from_secs(20);

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

/// Settings of a workload that a development authority signs for.
pub(super) fn signed_by(directory: &Path, name: &str) -> Settings {
    let source =
        Source::SigningCa { directory: directory.to_owned(), identity: identity(name), lifetime: HOUR };
    Settings { source, expected: None, federated: Vec::new(), revocation_lists: Vec::new() }
}

async fn obtain(settings: Settings) -> Arc<Certificates> {
    Certificates::obtain(settings, PATIENCE).await.unwrap()
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
    assert_eq!(client.negotiated_cipher_suite(), Some(cipher_suite::TLS13_AES_256_GCM_SHA384));
    assert_eq!(
        client.negotiated_key_exchange_group().unwrap().name(),
        rustls::NamedGroup::X25519MLKEM768,
        "the hybrid group is preferred"
    );
}
