//! Certificates of a mesh for ends that are not Sidestep's, good ones and forged ones, and lists of those that were revoked.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevokedCertParams, SanType, SerialNumber,
};
use serde_json::json;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use super::{Mesh, NAMESPACE, identity, write_secret};
use crate::sidestep::directory;
use crate::{Config, Pod};

/// A directory with `tls.crt`, `tls.key` and `ca.crt`.
#[derive(Debug)]
pub struct Credentials {
    directory: TempDir,
    serial: SerialNumber,
}

impl Credentials {
    /// Where they are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// What is to be wrong with a certificate. By default nothing is: it is `foreign`'s, for a day.
#[derive(Clone, Debug)]
pub struct Forgery {
    /// URI names.
    pub uris: Vec<String>,
    /// Valid from and to, in days from now.
    pub days: (i64, i64),
    /// Whether it may be a client's.
    pub for_clients: bool,
    /// Whether it may sign others.
    pub is_authority: bool,
    /// Whether it is signed by its own key.
    pub signed_by_itself: bool,
}

impl Default for Forgery {
    fn default() -> Self {
        Self {
            uris: vec![identity("foreign")],
            days: (-1, 1),
            for_clients: true,
            is_authority: false,
            signed_by_itself: false,
        }
    }
}

impl Mesh {
    /// Good credentials of a service account.
    ///
    /// # Panics
    /// When they cannot be made.
    #[must_use]
    pub fn issue(&self, account: &str) -> Credentials {
        self.forge(Forgery { uris: vec![identity(account)], ..Forgery::default() })
    }

    /// Credentials with something wrong.
    ///
    /// # Panics
    /// When they cannot be made.
    #[must_use]
    pub fn forge(&self, forgery: Forgery) -> Credentials {
        self.try_forge(forgery).unwrap_or_else(|error| panic!("make credentials: {error}"))
    }

    /// Writes a list of revoked certificates over the last one, in one step, and says where.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn revoke(&self, revoked: &[&Credentials]) -> PathBuf {
        let file = self.directory.path().join("revoked.pem");
        let list = self.list(revoked).unwrap_or_else(|error| panic!("make a list: {error}"));
        crate::sidestep::replace(&file, &list);
        file
    }

    /// The same configuration, for a workload that knows others, which are reached through their tunnels.
    #[must_use]
    pub fn knows(&self, config: Config, others: &[(&str, &Pod)]) -> Config {
        let workload = |(account, pod): &(&str, &Pod)| {
            let addresses: Vec<IpAddr> = pod.addresses().to_vec();
            json!({
                "name": format!("{account}-0"),
                "namespace": NAMESPACE,
                "service-account": account,
                "addresses": addresses,
                "tunnel": true,
            })
        };
        config.with("workloads", others.iter().map(workload).collect())
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, Box<dyn std::error::Error>> {
        let read = |name| fs::read_to_string(self.authority().join(name));
        Ok(Issuer::from_ca_cert_pem(&read("tls.crt")?, KeyPair::from_pem(&read("tls.key")?)?)?)
    }

    fn try_forge(&self, forgery: Forgery) -> Result<Credentials, Box<dyn std::error::Error>> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::default();
        let serial = SerialNumber::from_slice(&key.subject_public_key_info()[30..46]);
        parameters.serial_number = Some(serial.clone());
        for uri in forgery.uris {
            parameters.subject_alt_names.push(SanType::URI(uri.try_into()?));
        }
        let now = OffsetDateTime::now_utc();
        parameters.not_before = now + Duration::days(forgery.days.0);
        parameters.not_after = now + Duration::days(forgery.days.1);
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if forgery.for_clients {
            parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        if forgery.is_authority {
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            parameters.key_usages.push(KeyUsagePurpose::KeyCertSign);
        }
        let certificate = if forgery.signed_by_itself {
            parameters.self_signed(&key)?
        } else {
            parameters.signed_by(&key, &self.issuer()?)?
        };
        let directory = directory();
        fs::write(directory.path().join("tls.crt"), certificate.pem())?;
        write_secret(&directory.path().join("tls.key"), &key.serialize_pem())?;
        fs::copy(self.authority().join("tls.crt"), directory.path().join("ca.crt"))?;
        Ok(Credentials { directory, serial })
    }

    fn list(&self, revoked: &[&Credentials]) -> Result<String, Box<dyn std::error::Error>> {
        let now = OffsetDateTime::now_utc();
        let revoked_certs = revoked.iter().map(|credentials| RevokedCertParams {
            serial_number: credentials.serial.clone(),
            revocation_time: now - Duration::hours(1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: now - Duration::hours(1),
            next_update: now + Duration::days(1),
            crl_number: SerialNumber::from(revoked.len() as u64 + 1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer()?)?.pem()?)
    }
}
