//! Keys stay where they are: in no `Debug`, in no error.

use std::fs;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::forge::{HOUR, WEB, authority, files_in, identity, obtain, signed_by};
use crate::identity::{Certificates, SvidError};

/// Whether a text shows any line of a PEM's body.
fn shows(text: &str, pem: &str) -> bool {
    pem.lines().filter(|line| !line.starts_with("-----")).any(|line| text.contains(line))
}

#[tokio::test]
async fn no_key_is_shown_by_debug() {
    let (home, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let authority = authority(home.path(), "cluster.local");
    let svid = authority.issue_into(out.path(), &identity(WEB), HOUR, SystemTime::now()).unwrap();
    let certificates = obtain(files_in(out.path())).await;
    let shown = format!("{authority:?} {svid:?} {certificates:?} {:?}", certificates.standing());
    for key in [home.path().join("tls.key"), out.path().join("tls.key")] {
        assert!(!shows(&shown, &fs::read_to_string(key).unwrap()));
    }
    assert!(!shown.contains("PrivateKey") && !shown.contains("KeyPair"), "{shown}");
}

#[tokio::test]
async fn no_error_quotes_what_stood_in_a_key_file() {
    let out = TempDir::new().unwrap();
    let home = TempDir::new().unwrap();
    authority(home.path(), "cluster.local")
        .issue_into(out.path(), &identity(WEB), HOUR, SystemTime::now())
        .unwrap();
    let secret = "c2VjcmV0c2VjcmV0";
    for broken in [
        secret.to_owned(),
        format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n"),
        format!("-----BEGIN PRIVATE KEY-----\n{secret}!\n-----END PRIVATE KEY-----\n"),
        format!("-----BEGIN PRIVATE KEY-----\n{secret}\n"),
        format!("-----BEGIN {secret}-----\n"),
    ] {
        fs::write(out.path().join("tls.key"), &broken).unwrap();
        let patience = Duration::from_millis(50);
        let error = Certificates::obtain(files_in(out.path()), patience).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
        fs::write(home.path().join("tls.key"), &broken).unwrap();
        let error = Certificates::obtain(signed_by(home.path(), WEB), patience).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
}

#[test]
fn a_key_of_another_certificate_is_told_apart_from_a_bad_one() {
    let (home, one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let authority = authority(home.path(), "cluster.local");
    for out in [&one, &two] {
        authority.issue_into(out.path(), &identity(WEB), HOUR, SystemTime::now()).unwrap();
    }
    let chain = fs::read(one.path().join("tls.crt")).unwrap();
    let key = fs::read(two.path().join("tls.key")).unwrap();
    let error = crate::identity::Svid::of_pem(&chain, &key, SystemTime::now()).unwrap_err();
    assert!(matches!(error, SvidError::Mismatch), "{error}");
}
