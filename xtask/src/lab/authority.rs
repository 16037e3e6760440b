//! A certificate authority of a lab: in a directory that the product can sign with, and at hand to sign for others.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};

use super::mesh::TRUST_DOMAIN;

/// What a Kubernetes TLS Secret calls its files, and what cert-manager puts beside them.
pub(crate) const CERTIFICATE: &str = "tls.crt";
/// See [`CERTIFICATE`].
pub(crate) const KEY: &str = "tls.key";
/// See [`CERTIFICATE`].
pub(crate) const TRUSTED: &str = "ca.crt";

/// An authority whose key is of the kind that its certificates' keys are: ECDSA on P-256.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

impl Authority {
    /// Makes one, with its certificate and its key in `directory`.
    pub(crate) fn establish(directory: PathBuf) -> Result<Self> {
        let mut certificate = CertificateParams::default();
        certificate.distinguished_name = named("lab authority");
        certificate.subject_alt_names = vec![uri(&format!("spiffe://{TRUST_DOMAIN}"))?];
        certificate.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        certificate.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer =
            CertifiedIssuer::self_signed(certificate, key()?).context("sign an authority's certificate")?;
        let authority = Self { issuer, directory };
        let pem = authority.issuer.pem();
        write(&authority.directory, &[(CERTIFICATE, &pem), (KEY, &authority.issuer.key().serialize_pem())])?;
        Ok(authority)
    }

    /// Where its certificate and its key are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes a key and a certificate for an identity, for either end of a connection, and puts them into `directory`
    /// with the authority's own certificate.
    pub(crate) fn issue(&self, identity: &str, directory: &Path) -> Result<()> {
        let mut certificate = CertificateParams::default();
        certificate.distinguished_name = DistinguishedName::new();
        certificate.subject_alt_names = vec![uri(identity)?];
        certificate.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        certificate.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = key()?;
        let signed = certificate.signed_by(&key, &self.issuer).context("sign a certificate")?;
        let (certificate, key) = (signed.pem(), key.serialize_pem());
        write(directory, &[(CERTIFICATE, &certificate), (KEY, &key), (TRUSTED, &self.issuer.pem())])
    }
}

fn key() -> Result<KeyPair> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("make a key")
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn uri(text: &str) -> Result<SanType> {
    Ok(SanType::URI(text.try_into().with_context(|| format!("name {text:?} in a certificate"))?))
}

/// Nobody else reads what is written here: some of it is secret.
fn write(directory: &Path, files: &[(&str, &str)]) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    for (name, text) in files {
        let path = directory.join(name);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_issued_comes_with_its_key_and_whom_to_trust() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::establish(directory.path().join("ca")).unwrap();
        let of = |directory: &Path, name: &str| fs::read_to_string(directory.join(name)).unwrap();
        let issued = directory.path().join("server");
        authority.issue("spiffe://cluster.local/ns/lab/sa/server", &issued).unwrap();
        assert_eq!(of(&issued, TRUSTED), of(authority.directory(), CERTIFICATE));
        assert!(of(&issued, CERTIFICATE).starts_with("-----BEGIN CERTIFICATE-----"));
        assert_ne!(of(&issued, KEY), of(authority.directory(), KEY));
        let mode = issued.join(KEY).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_identity_that_no_certificate_can_name_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::establish(directory.path().join("ca")).unwrap();
        let error = authority.issue("spiffe://cluster.löcal/x", directory.path()).unwrap_err();
        assert!(format!("{error:#}").contains("cluster.löcal"), "{error:#}");
    }
}
