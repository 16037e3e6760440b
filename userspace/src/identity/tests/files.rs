//! The source `files`: swaps, halves, garbage and absence, while the certificates are in use.

use std::fs;
use std::io::{Read as _, Write as _};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::forge::{DB, HOUR, WEB, authority, domain, eventually, failed_with, files_in, identity, obtain};
use super::handshakes::shake;
use crate::identity::{Authority, Certificates, Settings, Source, Svid};

/// An authority, and a directory with what it issued.
struct Issued {
    _home: TempDir,
    authority: Authority,
    out: TempDir,
}

impl Issued {
    fn new() -> Self {
        let (home, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let authority = authority(home.path(), "cluster.local");
        let issued = Self { _home: home, authority, out };
        issued.issue(WEB);
        issued
    }

    fn issue(&self, name: &str) -> Svid {
        self.authority.issue_into(self.out.path(), &identity(name), HOUR, SystemTime::now()).unwrap()
    }

    fn settings(&self) -> Settings {
        files_in(self.out.path())
    }
}

#[tokio::test]
async fn a_swap_rotates_and_leaves_connections_alone() {
    let issued = Issued::new();
    let certificates = obtain(issued.settings()).await;
    let before = certificates.standing();
    let (client, server) = (certificates.client(&[identity(WEB)]).unwrap(), certificates.server().unwrap());
    let shaken = shake(client, server);
    let (mut client, mut server) = (shaken.client.unwrap(), shaken.server.unwrap());
    let changes = certificates.changes();
    let svid = issued.issue(WEB);
    let standing = eventually(&certificates, "rotated", |standing| standing.rotations == 1).await;
    assert_ne!(standing.serial, before.serial);
    assert_eq!((standing.serial.as_str(), standing.failures), (svid.leaf().serial.as_str(), 0));
    assert_eq!(*changes.borrow(), 0, "our own certificate is no change of whom we believe");
    let shaken = shake(certificates.client(&[identity(WEB)]).unwrap(), certificates.server().unwrap());
    let shown = shaken.client.unwrap().peer_certificates().unwrap()[0].clone();
    assert_eq!(shown, svid.chain()[0], "new handshakes show the new one");
    // And the connection from before still carries bytes.
    client.writer().write_all(b"still here").unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    server.read_tls(&mut wire.as_slice()).unwrap();
    server.process_new_packets().unwrap();
    let mut heard = [0; 10];
    server.reader().read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"still here");
}

#[tokio::test]
async fn a_source_that_vanishes_leaves_the_old_one_in_use_until_it_is_back() {
    let issued = Issued::new();
    let certificates = obtain(issued.settings()).await;
    let before = certificates.standing();
    let aside = issued.out.path().with_extension("aside");
    fs::rename(issued.out.path(), &aside).unwrap();
    let failing =
        eventually(&certificates, "failed", |standing| failed_with(standing, "tls.crt", false)).await;
    assert_eq!((failing.serial, failing.rotations), (before.serial, 0));
    assert!(certificates.server().is_ok() && failing.unavailable.is_none());
    fs::rename(&aside, issued.out.path()).unwrap();
    issued.issue(WEB);
    let standing = eventually(&certificates, "recovered", |standing| standing.rotations == 1).await;
    assert!(failed_with(&standing, "tls.crt", true) && standing.failures > 0);
}

#[tokio::test]
async fn garbage_leaves_the_old_one_in_use_until_it_is_good_again() {
    let issued = Issued::new();
    let certificates = obtain(issued.settings()).await;
    let before = certificates.standing();
    let stranger = Issued::new();
    let expired = stranger.authority.issue(&identity(WEB), HOUR, SystemTime::now()).unwrap();
    drop(expired);
    for (name, garbage, words) in [
        ("tls.crt", &b"garbage"[..], "expected a certificate in PEM, found none"),
        ("tls.crt", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "malformed"),
        ("tls.key", b"garbage", "expected an unencrypted private key"),
        ("ca.crt", b"", "ca.crt: expected a certificate in PEM, found none"),
        ("ca.crt", &[b'x'; (1 << 20) + 1], "expected at most 1 MiB"),
    ] {
        let path = issued.out.path().join(name);
        let good = fs::read(&path).unwrap();
        fs::write(&path, garbage).unwrap();
        let failing = eventually(&certificates, words, |standing| failed_with(standing, words, false)).await;
        assert_eq!(failing.serial, before.serial, "{words}");
        assert!(certificates.server().is_ok() && certificates.client(&[identity(WEB)]).is_ok());
        fs::write(&path, good).unwrap();
        eventually(&certificates, "recovered", |standing| failed_with(standing, words, true)).await;
    }
    issued.issue(WEB);
    eventually(&certificates, "rotated", |standing| standing.rotations == 1).await;
}

#[tokio::test]
async fn half_of_a_swap_is_waited_for() {
    let issued = Issued::new();
    let next = TempDir::new().unwrap();
    let svid = issued.authority.issue_into(next.path(), &identity(WEB), HOUR, SystemTime::now()).unwrap();
    let certificates = obtain(issued.settings()).await;
    let copy = |name: &str| fs::copy(next.path().join(name), issued.out.path().join(name)).unwrap();
    copy("tls.crt");
    // The key follows once the certificate without it must have been seen.
    let refused =
        |standing: &crate::identity::Standing| failed_with(standing, "belongs to the certificate", false);
    let standing = eventually(&certificates, "told", refused).await;
    assert_eq!(standing.rotations, 0, "the old pair stays");
    copy("tls.key");
    let standing = eventually(&certificates, "rotated", |standing| standing.rotations == 1).await;
    assert_eq!(standing.serial, svid.leaf().serial);
}

#[tokio::test]
async fn a_certificate_for_somebody_else_is_not_used() {
    let issued = Issued::new();
    let settings = Settings { expected: Some(identity(DB)), ..issued.settings() };
    let error = Certificates::obtain(settings, Duration::from_millis(200)).await.unwrap_err();
    let error = error.to_string();
    assert!(error.contains(&format!("expected a certificate for {DB}")) && error.contains(WEB), "{error}");
    let settings = Settings { expected: Some(identity(WEB)), ..issued.settings() };
    let certificates = obtain(settings).await;
    issued.issue(DB);
    eventually(&certificates, "refused", |standing| failed_with(standing, WEB, false)).await;
    assert_eq!(certificates.identity(), identity(WEB));
}

#[tokio::test]
async fn a_source_that_comes_late_is_waited_for_and_one_that_never_comes_is_an_error() {
    let (home, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let late = out.path().join("not/yet");
    let error =
        Certificates::obtain(files_in(&late), Duration::from_millis(200)).await.unwrap_err().to_string();
    assert!(error.contains("within 200ms") && error.contains("tls.crt"), "{error}");
    let authority = authority(home.path(), "cluster.local");
    let waiting = tokio::spawn(obtain(files_in(&late)));
    authority.issue_into(&late, &identity(WEB), HOUR, SystemTime::now()).unwrap();
    assert_eq!(waiting.await.unwrap().identity(), identity(WEB));
}

#[tokio::test]
async fn a_new_bundle_is_a_change_of_whom_we_believe() {
    let issued = Issued::new();
    let certificates = obtain(issued.settings()).await;
    let mut changes = certificates.changes();
    let other = TempDir::new().unwrap();
    Authority::create(other.path(), &domain("cluster.local"), HOUR, SystemTime::now()).unwrap();
    let both =
        [fs::read(issued.out.path().join("ca.crt")).unwrap(), fs::read(other.path().join("ca.crt")).unwrap()];
    fs::write(issued.out.path().join("ca.crt"), both.concat()).unwrap();
    tokio::time::timeout(super::forge::PATIENCE, changes.changed()).await.unwrap().unwrap();
    let standing = certificates.standing();
    assert_eq!((standing.bundles["cluster.local"].authorities, standing.rotations), (2, 0));
}

#[tokio::test]
async fn an_expired_certificate_lets_nobody_in_and_says_so() {
    let issued = Issued::new();
    let brief = Duration::from_secs(2);
    issued.authority.issue_into(issued.out.path(), &identity(WEB), brief, SystemTime::now()).unwrap();
    let certificates = obtain(issued.settings()).await;
    let standing = eventually(&certificates, "expired", |standing| standing.unavailable.is_some()).await;
    assert!(standing.unavailable.unwrap().contains("our certificate expired at"));
    assert!(certificates.server().is_err() && certificates.client(&[]).is_err());
    issued.issue(WEB);
    eventually(&certificates, "available", |standing| standing.unavailable.is_none()).await;
    assert!(certificates.server().is_ok());
    let _unused: Source = issued.settings().source;
}
