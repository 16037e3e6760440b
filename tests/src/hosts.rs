//! Certificates of hosts, as servers outside of a mesh have them: names and addresses, signed by an authority of the test's own.
//!
//! The authority is made anew every time and goes with its directory: no key is ever part of the repository.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use tempfile::TempDir;

use crate::mesh::write_secret;
use crate::sidestep::{directory, replace};

/// Who vouches for hosts.
#[derive(Debug)]
pub struct Hosts {
    directory: TempDir,
    key: KeyPair,
    parameters: CertificateParams,
}

impl Hosts {
    /// A new authority.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let made = Self::make_authority();
        let (parameters, key, certificate) =
            made.unwrap_or_else(|error| panic!("make an authority: {error}"));
        let hosts = Self { directory: directory(), key, parameters };
        replace(&hosts.bundle(), &certificate);
        hosts
    }

    /// The file to believe it by.
    #[must_use]
    pub fn bundle(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A certificate for a host with these names and addresses, good for a server and a client, as `tls.crt` and `tls.key` of a
    /// directory of its own.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn issue(&self, names: &[&str]) -> TempDir {
        let home = directory();
        self.issue_into(home.path(), names);
        home
    }

    /// [`Self::issue`] into a directory, over what is there, each file in one step.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn issue_into(&self, home: &Path, names: &[&str]) {
        let made = self.make(names);
        let (certificate, key) = made.unwrap_or_else(|error| panic!("make a certificate: {error}"));
        replace(&home.join("tls.crt"), &certificate);
        let beside = home.join("tls.key.new");
        write_secret(&beside, &key)
            .and_then(|()| fs::rename(&beside, home.join("tls.key")))
            .unwrap_or_else(|error| panic!("write a key: {error}"));
    }

    fn make_authority() -> Result<(CertificateParams, KeyPair, String), rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::default();
        // Two with one name would be one whose signatures are wrong.
        let name = format!("authority {:02x?}", key.subject_public_key_info().last_chunk::<8>());
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = parameters.self_signed(&key)?.pem();
        Ok((parameters, key, certificate))
    }

    fn make(&self, names: &[&str]) -> Result<(String, String), rcgen::Error> {
        let mut parameters = CertificateParams::default();
        let first = names.first().copied().unwrap_or("nobody");
        parameters.distinguished_name.push(DnType::CommonName, first);
        for name in names {
            let name = match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*name).try_into()?),
            };
            parameters.subject_alt_names.push(name);
        }
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let issuer = Issuer::from_params(&self.parameters, &self.key);
        Ok((parameters.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
    }
}

impl Default for Hosts {
    fn default() -> Self {
        Self::new()
    }
}
