//! Our own certificate authority: made for development, or shared by all nodes as a Kubernetes TLS Secret.
//!
//! Its key is read when it is needed and forgotten afterwards. Each certificate gets a new ECDSA P-256 key.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SignatureAlgorithm, SigningKey,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::{Zeroize as _, Zeroizing};

use super::bundle::{Bundle, MOST_AUTHORITIES};
use super::certificate::{AuthorityCertificate, Validity, certificates_of_pem};
use super::fault::LONGEST_CHAIN;
use super::layout::{self, CERTIFICATE, KEY, ROOTS, Secrecy};
use super::svid::Svid;
use super::trust::{Bearer, Revocation, Trust, timestamp_of};
use crate::model::{Identity, TrustDomain};

/// How long before now a certificate becomes valid at most, for peers whose clocks are behind.
const SKEW: Duration = Duration::from_secs(60);

/// A certificate authority with its key.
pub struct Authority {
    issuer: Issuer<'static, Key>,
    validity: Validity,
    /// The trust domain in its own name, if it has one.
    domain: Option<String>,
    /// What stands between a leaf and the root, this authority first: empty for one that is a root.
    intermediates: Vec<CertificateDer<'static>>,
    bundle: Arc<Bundle>,
}

/// A certificate and its key, before anybody uses them.
struct Issuance {
    chain: Vec<CertificateDer<'static>>,
    key: Key,
}

impl Authority {
    /// Reads an authority: `tls.crt`, `tls.key`, and `ca.crt` if it is there, which then is part of the bundle.
    ///
    /// # Errors
    /// A file is missing or not what it should be.
    pub fn read(directory: &Path) -> Result<Self, String> {
        let path = directory.join(CERTIFICATE);
        let named = |path: &Path, error: &dyn fmt::Display| format!("{}: {error}", path.display());
        let chain = certificates_of_pem(&layout::read(&path)?, LONGEST_CHAIN - 1)
            .map_err(|error| named(&path, &error))?;
        let roots = directory.join(ROOTS);
        // cert-manager leaves the file empty where it knows no root.
        let mut certificates = match roots.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Ok(metadata) if metadata.len() == 0 => Vec::new(),
            _ => certificates_of_pem(&layout::read(&roots)?, MOST_AUTHORITIES)
                .map_err(|error| named(&roots, &error))?,
        };
        let [own, ..] = chain.as_slice() else { return Err(named(&path, &"no certificate")) };
        let certificate = AuthorityCertificate::read(own).map_err(|fault| named(&path, &fault))?;
        let key = Key::read(&directory.join(KEY))?;
        let issuer = Issuer::from_ca_cert_der(own, key).map_err(|error| named(&path, &error))?;
        if !certificates.contains(own) {
            certificates.insert(0, own.clone());
        }
        let bundle = Arc::new(Bundle::new(certificates)?);
        let domain = certificate.domain;
        let intermediates = if certificate.self_issued { Vec::new() } else { chain };
        Ok(Self { issuer, validity: certificate.validity, domain, intermediates, bundle })
    }

    /// Makes an authority for development: `tls.crt`, `tls.key` (for its owner only) and `ca.crt`.
    ///
    /// # Errors
    /// One of the files is there already, or cannot be written.
    pub fn create(
        directory: &Path,
        domain: &TrustDomain,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Validity, String> {
        for name in [CERTIFICATE, KEY, ROOTS] {
            let path = directory.join(name);
            if path.symlink_metadata().is_ok() {
                return Err(format!(
                    "{} is there already; nothing was written, choose another directory",
                    path.display()
                ));
            }
        }
        let key = Key::generate()?;
        let mut params = CertificateParams::default();
        let id = params.key_identifier(&key);
        let id: String = id.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Sidestep");
        // The name differs from authority to authority, so that revocation lists tell them apart.
        params.distinguished_name.push(DnType::CommonName, format!("{domain} development authority {id}"));
        params.subject_alt_names = vec![uri(&format!("spiffe://{domain}"))?];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let validity = period(now, lifetime);
        (params.not_before, params.not_after) = (validity.not_before.into(), validity.not_after.into());
        let certificate = params.self_signed(&key).map_err(|error| format!("sign the authority: {error}"))?;
        let pem = certificate.pem();
        std::fs::create_dir_all(directory)
            .map_err(|error| format!("create {}: {error}", directory.display()))?;
        let key = key.pem();
        for (name, content, secrecy) in [
            (KEY, key.as_bytes(), Secrecy::Secret),
            (CERTIFICATE, pem.as_bytes(), Secrecy::Open),
            (ROOTS, pem.as_bytes(), Secrecy::Open),
        ] {
            let path = directory.join(name);
            layout::create_new(&path, content, secrecy)
                .map_err(|error| format!("write {}: {error}", path.display()))?;
        }
        Ok(validity)
    }

    /// Issues a certificate with a new key, ready for use.
    ///
    /// # Errors
    /// The authority is expired, of another trust domain, or its key is not that of its certificate.
    pub fn issue(&self, identity: &Identity, lifetime: Duration, now: SystemTime) -> Result<Svid, String> {
        let Issuance { chain, key } = self.sign(identity, lifetime, now)?;
        let svid = Svid::new(chain, key.der(), now).map_err(|error| error.to_string())?;
        Ok(svid)
    }

    /// Issues a certificate with a new key into a directory: `tls.crt`, `tls.key` (for its owner only), `ca.crt`, all
    /// at once.
    ///
    /// # Errors
    /// Those of [`Self::issue`], or the directory cannot be written.
    pub fn issue_into(
        &self,
        directory: &Path,
        identity: &Identity,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Svid, String> {
        let Issuance { chain, key } = self.sign(identity, lifetime, now)?;
        let (certificates, roots) = (pem_text(&chain), pem_text(self.bundle.certificates()));
        let secret = key.pem();
        let svid = Svid::new(chain, key.der(), now).map_err(|error| error.to_string())?;
        let files = [
            (CERTIFICATE, certificates.as_bytes(), Secrecy::Open),
            (KEY, secret.as_bytes(), Secrecy::Secret),
            (ROOTS, roots.as_bytes(), Secrecy::Open),
        ];
        layout::publish(directory, &files)
            .map_err(|error| format!("write {}: {error}", directory.display()))?;
        Ok(svid)
    }

    /// Whom those should believe that believe this authority.
    pub(super) fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }

    fn sign(&self, identity: &Identity, lifetime: Duration, now: SystemTime) -> Result<Issuance, String> {
        if let Some(domain) = &self.domain
            && domain != identity.trust_domain()
        {
            return Err(format!(
                "expected an identity of {domain}, which the authority is for, found {identity}"
            ));
        }
        if !self.validity.holds(now) {
            let (from, to) = (timestamp_of(self.validity.not_before), timestamp_of(self.validity.not_after));
            return Err(format!(
                "expected an authority that is valid now, found one that is from {from} to {to}"
            ));
        }
        let key = Key::generate()?;
        let mut params = CertificateParams::default();
        // Without a subject the alternative name is critical (RFC 5280, section 4.2.1.6).
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![uri(identity.as_str())?];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let period = period(now, lifetime);
        params.not_before = period.not_before.max(self.validity.not_before).into();
        params.not_after = period.not_after.min(self.validity.not_after).into();
        let certificate =
            params.signed_by(&key, &self.issuer).map_err(|error| format!("sign {identity}: {error}"))?;
        let mut chain = vec![certificate.der().clone()];
        chain.extend(self.intermediates.iter().cloned());
        self.check(&chain, identity, now)?;
        Ok(Issuance { chain, key })
    }

    /// A key that is not that of the authority's certificate, or a name that was not kept byte for byte, shows here and
    /// not at the first handshake.
    fn check(
        &self,
        chain: &[CertificateDer<'static>],
        identity: &Identity,
        now: SystemTime,
    ) -> Result<(), String> {
        let domain: TrustDomain = identity.trust_domain().parse().map_err(|error| format!("{error}"))?;
        let bundles = BTreeMap::from([(domain, Arc::clone(&self.bundle))]);
        let trust = Trust { bundles, revocation: Revocation::Off };
        let verified = trust.verify(chain, Bearer::Standing, None, now);
        let remedy = "see whether tls.key belongs to tls.crt of the authority";
        verified
            .map(drop)
            .map_err(|fault| format!("what the authority signs does not verify: {fault}; {remedy}"))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").field("validity", &self.validity).finish_non_exhaustive()
    }
}

/// A key pair. Its bytes are wiped when it is dropped.
struct Key(KeyPair);

impl Key {
    fn generate() -> Result<Self, String> {
        KeyPair::generate().map(Self).map_err(|error| format!("make a key: {error}"))
    }

    fn read(path: &Path) -> Result<Self, String> {
        // Never with what stood there.
        let wrong = || format!("{}: expected an unencrypted private key in PEM, found none", path.display());
        let mut der = PrivateKeyDer::from_pem_slice(&layout::read(path)?).map_err(|_| wrong())?;
        let pair = KeyPair::try_from(&der);
        der.zeroize();
        pair.map(Self).map_err(|_| wrong())
    }

    fn der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.0.serialize_der()))
    }

    fn pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.serialize_pem())
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

fn uri(text: &str) -> Result<SanType, String> {
    Ok(SanType::URI(text.try_into().map_err(|error| format!("name {text}: {error}"))?))
}

/// From a little before now, and for a short life only very little.
fn period(now: SystemTime, lifetime: Duration) -> Validity {
    Validity { not_before: now - SKEW.min(lifetime / 10), not_after: now + lifetime }
}

fn pem_text(certificates: &[CertificateDer<'_>]) -> String {
    let blocks: Vec<_> = certificates.iter().map(|der| pem::Pem::new("CERTIFICATE", der.as_ref())).collect();
    pem::encode_many_config(&blocks, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
}
