//! The source `signing-ca`: rotation, a new authority, one that is gone.

use std::fs;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::forge::{DB, WEB, authority, eventually, failed_with, identity, obtain, settings, signed_by};
use super::handshakes::shake;
use crate::identity::{Authority, CertificateFault, Settings, Source};

fn briefly(directory: &TempDir) -> Settings {
    let directory = directory.path().to_owned();
    settings(Source::SigningCa { directory, identity: identity(WEB), lifetime: Duration::from_secs(4) })
}

#[tokio::test]
async fn it_renews_at_half_of_the_lifetime_with_a_new_key_and_number() {
    let home = TempDir::new().unwrap();
    authority(home.path(), "cluster.local");
    let certificates = obtain(briefly(&home)).await;
    let before = certificates.standing();
    let standing = eventually(&certificates, "rotated twice", |standing| standing.rotations == 2).await;
    assert_ne!(standing.serial, before.serial);
    assert!(standing.not_after > before.not_after && standing.failures == 0);
    assert_eq!(*certificates.changes().borrow(), 0);
}

#[tokio::test]
async fn a_new_authority_is_used_at_once_and_the_old_one_believed_no_more() {
    let home = TempDir::new().unwrap();
    authority(home.path(), "cluster.local");
    let web = obtain(signed_by(home.path(), WEB)).await;
    let db = obtain(signed_by(home.path(), DB)).await;
    let shaken = shake(web.client(&[identity(DB)]).unwrap(), db.server().unwrap());
    let chain = shaken.client.unwrap().peer_certificates().unwrap().to_vec();
    let mut changes = web.changes();
    let next = TempDir::new().unwrap();
    authority(next.path(), "cluster.local");
    for name in ["tls.key", "tls.crt", "ca.crt"] {
        fs::copy(next.path().join(name), home.path().join(name)).unwrap();
    }
    let issuer = Authority::read(next.path()).unwrap().issue(
        &identity(WEB),
        Duration::from_secs(60),
        SystemTime::now(),
    );
    let issuer = issuer.unwrap().leaf().issuer.clone();
    for certificates in [&web, &db] {
        eventually(certificates, "of the new one", |standing| {
            standing.issuer == issuer && standing.bundles["cluster.local"].authorities == 1
        })
        .await;
    }
    assert!(changes.has_changed().unwrap() && *changes.borrow_and_update() > 0);
    assert!(matches!(web.verify_again(&chain), Err(CertificateFault::UnknownIssuer { .. })));
    assert!(shake(web.client(&[identity(DB)]).unwrap(), db.server().unwrap()).client.is_ok());
}

#[tokio::test]
async fn an_authority_that_is_gone_is_missed_loudly_and_taken_up_again() {
    let home = TempDir::new().unwrap();
    authority(home.path(), "cluster.local");
    let certificates = obtain(briefly(&home)).await;
    let key = fs::read(home.path().join("tls.key")).unwrap();
    fs::remove_file(home.path().join("tls.key")).unwrap();
    let failing =
        eventually(&certificates, "failed", |standing| failed_with(standing, "tls.key", false)).await;
    assert!(certificates.server().is_ok() || failing.unavailable.is_some());
    fs::write(home.path().join("tls.key"), key).unwrap();
    let rotations = failing.rotations;
    let standing = eventually(&certificates, "recovered", |standing| {
        standing.rotations > rotations && failed_with(standing, "tls.key", true)
    });
    assert!(standing.await.unavailable.is_none());
}
