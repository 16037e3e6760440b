//! Revocation lists and federated bundles in files, while they are in use.

use std::fs;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::forge::{
    Ca, DB, PATIENCE, WEB, authority, domain, eventually, failed_with, identity, obtain, signed_by,
};
use super::handshakes::shake;
use crate::identity::{CertificateFault, Certificates, Settings, Unavailable};

/// An authority whose certificates can be revoked, as files of the source `signing-ca`.
struct Revocable {
    ca: Ca,
    home: TempDir,
}

impl Revocable {
    fn new() -> Self {
        let (ca, home) = (Ca::new("root"), TempDir::new().unwrap());
        fs::write(home.path().join("tls.crt"), pem::encode(&pem::Pem::new("CERTIFICATE", ca.der.as_ref())))
            .unwrap();
        fs::write(home.path().join("tls.key"), ca.issuer.key().serialize_pem()).unwrap();
        let revocable = Self { ca, home };
        revocable.revoke(&[]);
        revocable
    }

    fn list(&self) -> std::path::PathBuf {
        self.home.path().join("revoked.pem")
    }

    fn revoke(&self, serials: &[u64]) {
        let list = self.ca.revoke(serials, SystemTime::now());
        let draft = self.home.path().join("draft");
        fs::write(&draft, pem::encode(&pem::Pem::new("X509 CRL", list.as_ref()))).unwrap();
        fs::rename(draft, self.list()).unwrap();
    }

    fn settings(&self) -> Settings {
        Settings { revocation_lists: vec![self.list()], ..signed_by(self.home.path(), WEB) }
    }
}

#[tokio::test]
async fn a_certificate_that_is_revoked_later_is_a_reason_to_cut_connections() {
    let revocable = Revocable::new();
    let certificates = obtain(revocable.settings()).await;
    let serial = Some(rcgen::SerialNumber::from(7));
    let chain = vec![revocable.ca.leaf_with(DB, |params| params.serial_number = serial)];
    assert_eq!(certificates.verify_again(&chain), Ok(()));
    let mut changes = certificates.changes();
    revocable.revoke(&[7]);
    tokio::time::timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
    assert_eq!(certificates.verify_again(&chain), Err(CertificateFault::Revoked));
    let standing = certificates.standing();
    assert_eq!((standing.revocation_lists.len(), standing.revocation_lists[0].revoked), (1, 1));
}

#[tokio::test]
async fn lists_that_cannot_be_read_refuse_handshakes_and_cut_nobody_off() {
    let revocable = Revocable::new();
    let certificates = obtain(revocable.settings()).await;
    let before = (certificates.client(&[identity(WEB)]).unwrap(), certificates.server().unwrap());
    let shaken = shake(before.0.clone(), before.1.clone());
    let chain = shaken.client.unwrap().peer_certificates().unwrap().to_vec();
    fs::write(revocable.list(), "garbage").unwrap();
    let standing = eventually(&certificates, "unavailable", |standing| standing.unavailable.is_some()).await;
    assert!(failed_with(&standing, "revoked.pem", false), "{standing:?}");
    assert!(matches!(certificates.server(), Err(Unavailable::Revocation { .. })));
    assert!(matches!(certificates.client(&[]), Err(Unavailable::Revocation { .. })));
    let shaken = shake(before.0, before.1);
    assert!(shaken.client.is_err(), "nor with what was handed out before");
    assert_eq!(certificates.verify_again(&chain), Ok(()), "who is in stays in");
    revocable.revoke(&[]);
    eventually(&certificates, "available", |standing| standing.unavailable.is_none()).await;
    assert!(certificates.server().is_ok());
}

#[tokio::test]
async fn lists_that_are_not_there_at_the_start_are_an_error() {
    let revocable = Revocable::new();
    fs::remove_file(revocable.list()).unwrap();
    let error = Certificates::obtain(revocable.settings(), Duration::from_millis(200)).await.unwrap_err();
    assert!(error.to_string().contains("revoked.pem"), "{error}");
}

#[tokio::test]
async fn federated_workloads_meet_and_others_do_not() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    authority(here.path(), "cluster.local");
    authority(there.path(), "partner.org");
    let guest = "spiffe://partner.org/ns/shop/sa/guest";
    let federated = vec![(domain("partner.org"), there.path().join("ca.crt"))];
    let open = obtain(Settings { federated, ..signed_by(here.path(), WEB) }).await;
    let closed = obtain(signed_by(here.path(), DB)).await;
    let federated = vec![(domain("cluster.local"), here.path().join("ca.crt"))];
    let partner = obtain(Settings { federated, ..signed_by(there.path(), guest) }).await;
    let shaken = shake(partner.client(&[identity(WEB)]).unwrap(), open.server().unwrap());
    let server = shaken.server.unwrap();
    assert_eq!(open.peer(server.peer_certificates().unwrap()).unwrap(), identity(guest));
    assert!(shaken.client.is_ok());
    let shaken = shake(partner.client(&[identity(DB)]).unwrap(), closed.server().unwrap());
    let error = shaken.server.err().unwrap();
    assert!(matches!(CertificateFault::of(&error), Some(CertificateFault::TrustDomain { .. })), "{error}");
}

#[tokio::test]
async fn a_federated_bundle_that_breaks_stays_what_it_was() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    authority(here.path(), "cluster.local");
    let partner = authority(there.path(), "partner.org");
    let path = there.path().join("ca.crt");
    let federated = vec![(domain("partner.org"), path.clone())];
    let certificates = obtain(Settings { federated, ..signed_by(here.path(), WEB) }).await;
    let good = fs::read(&path).unwrap();
    fs::write(&path, "garbage").unwrap();
    let words = "the bundle of partner.org";
    eventually(&certificates, "failed", |standing| failed_with(standing, words, false)).await;
    let guest = identity("spiffe://partner.org/ns/shop/sa/guest");
    let svid = partner.issue(&guest, Duration::from_secs(60), SystemTime::now()).unwrap();
    assert_eq!(certificates.verify_again(svid.chain()), Ok(()));
    fs::write(&path, good).unwrap();
    eventually(&certificates, "recovered", |standing| failed_with(standing, words, true)).await;
    assert_eq!(*certificates.changes().borrow(), 0);
}
