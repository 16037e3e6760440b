//! What a certificate says about its bearer, read strictly and without trusting it.
//!
//! Nothing is verified here: no signature, no issuer, no time. Rules: SPIFFE X509-SVID, sections 2 to 5; RFC 5280.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_PKCS1_RSAENCRYPTION,
    OID_SIG_ED25519, OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_KEY_USAGE, OID_X509_EXT_SUBJECT_ALT_NAME,
    Oid,
};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Version};

use super::fault::CertificateFault;
use crate::model::Identity;

/// Fewest bits of an RSA key.
const RSA_BITS: usize = 2048;

/// When a certificate is valid: both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its first moment.
    pub not_before: SystemTime,
    /// Its last moment.
    pub not_after: SystemTime,
}

impl Validity {
    /// Whether it is valid at that time.
    #[must_use]
    pub fn holds(&self, now: SystemTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// What the certificate of a workload says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Who bears it.
    pub identity: Identity,
    /// The distinguished name of who issued it.
    pub issuer: String,
    /// Its number, hexadecimal with colons.
    pub serial: String,
    /// When it is valid.
    pub validity: Validity,
}

impl Leaf {
    /// Reads the certificate of a workload.
    ///
    /// # Errors
    /// It is not one: the fault says why.
    pub fn read(der: &[u8]) -> Result<Self, CertificateFault> {
        let certificate = parse(der)?;
        let identity = identity(&certificate)?;
        if is_authority(&certificate)? {
            return Err(usage("that of a certificate authority"));
        }
        match key_usage(&certificate)? {
            Some(usages) if usages.key_cert_sign() || usages.crl_sign() => {
                return Err(usage("a key usage of certificate authorities"));
            }
            Some(usages) if usages.digital_signature() => {}
            Some(_) => return Err(usage("a key usage without digitalSignature")),
            None => return Err(usage("no key usage")),
        }
        check_key(certificate.public_key())?;
        Ok(Self {
            identity,
            issuer: certificate.issuer().to_string(),
            serial: certificate.raw_serial_as_string(),
            validity: validity(&certificate),
        })
    }
}

/// What the certificate of a certificate authority says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AuthorityCertificate {
    pub(super) validity: Validity,
    /// Whether it names itself as its issuer.
    pub(super) self_issued: bool,
    /// The trust domain in its own name, if it has one.
    pub(super) domain: Option<String>,
}

impl AuthorityCertificate {
    /// Reads the certificate of an authority.
    ///
    /// # Errors
    /// It may not issue certificates, or is malformed or weak.
    pub(super) fn read(der: &[u8]) -> Result<Self, CertificateFault> {
        let certificate = parse(der)?;
        if !is_authority(&certificate)? {
            return Err(usage("one that is not that of a certificate authority"));
        }
        if key_usage(&certificate)?.is_some_and(|usages| !usages.key_cert_sign()) {
            return Err(usage("a certificate authority without the key usage keyCertSign"));
        }
        check_key(certificate.public_key())?;
        let self_issued = certificate.issuer().as_raw() == certificate.subject().as_raw();
        let domain =
            uris(&certificate)?.iter().find_map(|uri| uri.strip_prefix("spiffe://")).map(str::to_owned);
        Ok(Self { validity: validity(&certificate), self_issued, domain })
    }
}

/// The certificates of a PEM text, at least one and at most `most`. Other sections are passed over.
///
/// # Errors
/// There is none, there are too many, or one cannot be decoded. None of them is parsed.
pub fn certificates_of_pem(pem: &[u8], most: usize) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        if found.len() == most {
            return Err(format!("expected at most {most} certificates, found more"));
        }
        found.push(certificate.map_err(|error| format!("expected certificates in PEM: {error}"))?);
    }
    if found.is_empty() { Err("expected a certificate in PEM, found none".to_owned()) } else { Ok(found) }
}

fn usage(found: &str) -> CertificateFault {
    CertificateFault::Usage { found: found.to_owned() }
}

fn malformed(what: &dyn ToString) -> CertificateFault {
    CertificateFault::Malformed { what: what.to_string() }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateFault> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|error| malformed(&error))?;
    if !rest.is_empty() {
        return Err(malformed(&"bytes after its end"));
    }
    if certificate.version() != X509Version::V3 {
        return Err(malformed(&"another version"));
    }
    Ok(certificate)
}

/// An extension, present once at most. One that is present and cannot be read must not pass for one that is absent.
fn extension<'a>(
    certificate: &'a X509Certificate<'_>,
    oid: &Oid<'static>,
) -> Result<Option<&'a ParsedExtension<'a>>, CertificateFault> {
    let found = certificate.get_extension_unique(oid).map_err(|error| malformed(&error))?;
    Ok(found.map(x509_parser::extensions::X509Extension::parsed_extension))
}

fn identity(certificate: &X509Certificate<'_>) -> Result<Identity, CertificateFault> {
    match uris(certificate)?.as_slice() {
        [uri] => Ok(uri.parse()?),
        uris => Err(CertificateFault::NotOneName { found: uris.len() }),
    }
}

/// The URIs among the alternative names.
fn uris<'a>(certificate: &'a X509Certificate<'_>) -> Result<Vec<&'a str>, CertificateFault> {
    let names = match extension(certificate, &OID_X509_EXT_SUBJECT_ALT_NAME)? {
        None => return Ok(Vec::new()),
        Some(ParsedExtension::SubjectAlternativeName(names)) => &names.general_names,
        Some(_) => return Err(malformed(&"alternative names that cannot be read")),
    };
    let mut uris = Vec::new();
    for name in names {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            GeneralName::Invalid(..) => return Err(malformed(&"an alternative name that cannot be read")),
            _ => {}
        }
    }
    Ok(uris)
}

fn is_authority(certificate: &X509Certificate<'_>) -> Result<bool, CertificateFault> {
    match extension(certificate, &OID_X509_EXT_BASIC_CONSTRAINTS)? {
        None => Ok(false),
        Some(ParsedExtension::BasicConstraints(constraints)) => Ok(constraints.ca),
        Some(_) => Err(malformed(&"basic constraints that cannot be read")),
    }
}

fn key_usage<'a>(
    certificate: &'a X509Certificate<'_>,
) -> Result<Option<&'a x509_parser::extensions::KeyUsage>, CertificateFault> {
    match extension(certificate, &OID_X509_EXT_KEY_USAGE)? {
        None => Ok(None),
        Some(ParsedExtension::KeyUsage(usages)) => Ok(Some(usages)),
        Some(_) => Err(malformed(&"a key usage that cannot be read")),
    }
}

fn check_key(key: &SubjectPublicKeyInfo<'_>) -> Result<(), CertificateFault> {
    let weak = |found: String| Err(CertificateFault::WeakKey { found });
    let algorithm = &key.algorithm.algorithm;
    if *algorithm == OID_SIG_ED25519 {
        return Ok(());
    }
    if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        let good = [OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521];
        return match curve {
            Some(curve) if good.contains(&curve) => Ok(()),
            Some(curve) => weak(format!("ECDSA on the curve {curve}")),
            None => weak("ECDSA without a named curve".to_owned()),
        };
    }
    if *algorithm == OID_PKCS1_RSAENCRYPTION {
        return match key.parsed() {
            Ok(PublicKey::RSA(rsa)) => match bits(rsa.modulus) {
                bits if bits < RSA_BITS => weak(format!("RSA with {bits} bits")),
                _ => Ok(()),
            },
            _ => Err(malformed(&"an RSA key that cannot be read")),
        };
    }
    weak(format!("a key of the kind {algorithm}"))
}

/// How many bits a big-endian number has.
fn bits(number: &[u8]) -> usize {
    let significant = number.iter().skip_while(|byte| **byte == 0).count();
    let leading = number.iter().find(|byte| **byte != 0).map_or(0, |byte| byte.leading_zeros());
    (significant * 8).saturating_sub(leading as usize)
}

fn validity(certificate: &X509Certificate<'_>) -> Validity {
    let validity = certificate.validity();
    Validity {
        not_before: system_time(validity.not_before.timestamp()),
        not_after: system_time(validity.not_after.timestamp()),
    }
}

/// Seconds since 1970 as a time of the system; times before it are its beginning.
pub(super) fn system_time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
