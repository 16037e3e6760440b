//! Makes authorities and certificates as the tests need them: good ones, and any deviation from that.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::identity::bundle::Bundles;
use crate::identity::trust::{Revocation, Trust};
use crate::identity::{Authority, Bundle, Certificates, Settings, Source, Standing, read_lists};
use crate::model::{Identity, TrustDomain};

/// How long anything may take on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
pub(super) const DB: &str = "spiffe://cluster.local/ns/shop/sa/db";

pub(super) fn identity(text: &str) -> Identity {
    text.parse().unwrap()
}

pub(super) fn domain(text: &str) -> TrustDomain {
    text.parse().unwrap()
}

/// An authority that does whatever a test tells it to.
pub(super) struct Ca {
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) der: CertificateDer<'static>,
}

impl Ca {
    pub(super) fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    /// A root that deviates.
    pub(super) fn with(name: &str, deviate: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = authority_params(name);
        deviate(&mut params);
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), der }
    }

    /// An intermediate that deviates.
    pub(super) fn below(&self, name: &str, deviate: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = authority_params(name);
        deviate(&mut params);
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), der }
    }

    /// A good certificate.
    pub(super) fn leaf(&self, uri: &str) -> CertificateDer<'static> {
        self.leaf_with(uri, |_| {})
    }

    /// A certificate that deviates from a good one.
    pub(super) fn leaf_with(
        &self,
        uri: &str,
        deviate: impl FnOnce(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        self.leaf_of_key(uri, &KeyPair::generate().unwrap(), deviate)
    }

    pub(super) fn leaf_of_key(
        &self,
        uri: &str,
        key: &impl PublicKeyData,
        deviate: impl FnOnce(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        let mut params = leaf_params(uri);
        deviate(&mut params);
        params.signed_by(key, &self.issuer).unwrap().der().clone()
    }

    /// A revocation list with these numbers, valid for an hour from then.
    pub(super) fn revoke(&self, serials: &[u64], from: SystemTime) -> CertificateRevocationListDer<'static> {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: from.into(),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: from.into(),
            next_update: (from + HOUR).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().clone()
    }

    pub(super) fn bundle(&self) -> Arc<Bundle> {
        Arc::new(Bundle::new(vec![self.der.clone()]).unwrap())
    }
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_period(&mut params, SystemTime::now() - 24 * HOUR, SystemTime::now() + 24 * HOUR);
    params
}

fn leaf_params(uri: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![uri_name(uri)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    set_period(&mut params, SystemTime::now() - HOUR, SystemTime::now() + HOUR);
    params
}

pub(super) fn uri_name(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

pub(super) fn set_period(params: &mut CertificateParams, from: SystemTime, to: SystemTime) {
    (params.not_before, params.not_after) = (from.into(), to.into());
}

/// Trust in one bundle per domain, and no revocation lists.
pub(super) fn trust(bundles: &[(&str, &Ca)]) -> Trust {
    let bundles = bundles.iter().map(|(name, ca)| (domain(name), ca.bundle()));
    Trust { bundles: Bundles::from_iter(bundles), revocation: Revocation::Off }
}

/// The same with a revocation list.
pub(super) fn with_list(mut trust: Trust, list: &CertificateRevocationListDer<'_>) -> Trust {
    trust.revocation = Revocation::Lists(read_lists(list).unwrap());
    trust
}

/// A development authority in a directory.
pub(super) fn authority(directory: &Path, name: &str) -> Authority {
    Authority::create(directory, &domain(name), 24 * HOUR, SystemTime::now()).unwrap();
    Authority::read(directory).unwrap()
}

/// Settings of a source, with nothing beside it.
pub(super) fn settings(source: Source) -> Settings {
    Settings { source, expected: None, federated: Vec::new(), revocation_lists: Vec::new() }
}

/// Settings of a workload whose files somebody else writes.
pub(super) fn files_in(directory: &Path) -> Settings {
    settings(Source::Files { directory: directory.to_owned() })
}

/// Settings of a workload that a development authority signs for.
pub(super) fn signed_by(directory: &Path, name: &str) -> Settings {
    settings(Source::SigningCa { directory: directory.to_owned(), identity: identity(name), lifetime: HOUR })
}

/// Certificates that have to come.
pub(super) async fn obtain(settings: Settings) -> Arc<Certificates> {
    Certificates::obtain(settings, PATIENCE).await.unwrap()
}

/// Waits until something is so, and fails with how it stands if it never is.
pub(super) async fn eventually(
    certificates: &Certificates,
    what: &str,
    holds: impl Fn(&Standing) -> bool,
) -> Standing {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let standing = certificates.standing();
            if holds(&standing) {
                return standing;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never {what}: {:#?}", certificates.standing()))
}

/// Whether the last failure says that, and is over or not.
pub(super) fn failed_with(standing: &Standing, words: &str, recovered: bool) -> bool {
    standing
        .last_failure
        .as_ref()
        .is_some_and(|last| last.message.contains(words) && last.recovered == recovered)
}
