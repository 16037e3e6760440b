//! The development authority: what it writes, and what it refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use tempfile::TempDir;

use super::forge::{Ca, DB, HOUR, WEB, authority, domain, files_in, identity, obtain};
use crate::identity::{Authority, Leaf};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_authority_keeps_its_key_to_its_owner_and_is_never_overwritten() {
    let directory = TempDir::new().unwrap();
    authority(directory.path(), "cluster.local");
    assert_eq!(mode(&directory.path().join("tls.key")), 0o600);
    assert_eq!(mode(&directory.path().join("tls.crt")), 0o644);
    let before = fs::read(directory.path().join("tls.key")).unwrap();
    let again = Authority::create(directory.path(), &domain("cluster.local"), HOUR, SystemTime::now());
    assert!(again.unwrap_err().contains("is there already; nothing was written"));
    fs::remove_file(directory.path().join("tls.crt")).unwrap();
    assert!(Authority::create(directory.path(), &domain("cluster.local"), HOUR, SystemTime::now()).is_err());
    assert_eq!(fs::read(directory.path().join("tls.key")).unwrap(), before);
    assert!(!directory.path().join("tls.crt").exists());
}

#[tokio::test]
async fn what_it_issues_into_a_directory_is_what_the_files_source_reads() {
    let (home, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let authority = authority(home.path(), "cluster.local");
    let svid = authority.issue_into(out.path(), &identity(WEB), HOUR, SystemTime::now()).unwrap();
    assert_eq!(mode(&out.path().join("tls.key")), 0o600);
    let certificates = obtain(files_in(out.path())).await;
    assert_eq!(certificates.identity(), identity(WEB));
    assert_eq!(certificates.standing().serial, svid.leaf().serial);
    // A second time replaces the first, and leaves nothing of it.
    authority.issue_into(out.path(), &identity(DB), HOUR, SystemTime::now()).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(out.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names.len(), 5, "three links, ..data and one version: {names:?}");
}

#[test]
fn what_it_issues_is_critical_about_its_name_and_short_of_usages() {
    let home = TempDir::new().unwrap();
    let svid =
        authority(home.path(), "cluster.local").issue(&identity(WEB), HOUR, SystemTime::now()).unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(&svid.chain()[0]).unwrap();
    assert!(certificate.subject().iter().next().is_none(), "no subject");
    assert!(certificate.subject_alternative_name().unwrap().unwrap().critical);
    let usage = certificate.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.digital_signature() && !usage.value.key_cert_sign());
    let leaf = Leaf::read(&svid.chain()[0]).unwrap();
    assert!(leaf.validity.not_before < SystemTime::now() - HOUR / 70, "backdated for clocks that are behind");
    assert!(leaf.issuer.contains("cluster.local development authority"), "{}", leaf.issuer);
}

#[test]
fn it_issues_for_no_other_trust_domain() {
    let home = TempDir::new().unwrap();
    let authority = authority(home.path(), "cluster.local");
    let error =
        authority.issue(&identity("spiffe://partner.org/ns/a/sa/b"), HOUR, SystemTime::now()).unwrap_err();
    assert!(error.contains("expected an identity of cluster.local"), "{error}");
}

#[test]
fn it_issues_nothing_that_outlives_it_and_nothing_when_it_is_expired() {
    let home = TempDir::new().unwrap();
    let authority = authority(home.path(), "cluster.local");
    let svid = authority.issue(&identity(WEB), 1000 * HOUR, SystemTime::now()).unwrap();
    assert!(svid.leaf().validity.not_after <= SystemTime::now() + 24 * HOUR);
    let error = authority.issue(&identity(WEB), HOUR, SystemTime::now() + 25 * HOUR).unwrap_err();
    assert!(error.contains("expected an authority that is valid now"), "{error}");
}

#[test]
fn a_key_of_another_authority_is_noticed() {
    let (home, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    authority(home.path(), "cluster.local");
    authority(other.path(), "cluster.local");
    fs::copy(other.path().join("tls.key"), home.path().join("tls.key")).unwrap();
    let mixed = Authority::read(home.path()).unwrap();
    let error = mixed.issue(&identity(WEB), HOUR, SystemTime::now()).unwrap_err();
    assert!(error.contains("whether tls.key belongs to tls.crt"), "{error}");
}

#[test]
fn an_intermediate_authority_sends_itself_along() {
    let (root, home) = (Ca::new("root"), TempDir::new().unwrap());
    let middle = root.below("middle", |_| {});
    let text = |der: &[u8]| pem::encode(&pem::Pem::new("CERTIFICATE", der));
    fs::write(home.path().join("tls.crt"), text(&middle.der)).unwrap();
    fs::write(home.path().join("tls.key"), middle.issuer.key().serialize_pem()).unwrap();
    fs::write(home.path().join("ca.crt"), text(&root.der)).unwrap();
    let authority = Authority::read(home.path()).unwrap();
    let svid = authority.issue(&identity(WEB), HOUR, SystemTime::now()).unwrap();
    assert_eq!(svid.chain().len(), 2);
    assert_eq!(svid.chain()[1], middle.der);
    let trust = super::forge::trust(&[("cluster.local", &root)]);
    let verified =
        trust.verify(svid.chain(), crate::identity::trust::Bearer::Client, None, SystemTime::now());
    assert_eq!(verified, Ok(identity(WEB)), "for whoever believes the root alone");
}

#[test]
fn an_empty_file_of_roots_counts_as_none() {
    let home = TempDir::new().unwrap();
    authority(home.path(), "cluster.local");
    fs::write(home.path().join("ca.crt"), "").unwrap();
    let authority = Authority::read(home.path()).unwrap();
    assert!(authority.issue(&identity(WEB), HOUR, SystemTime::now()).is_ok());
}
