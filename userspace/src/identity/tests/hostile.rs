//! A corpus of hostile certificates, each with the fault that it has to be refused with.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, PublicKeyData, RsaKeySize, SanType, SerialNumber, SignatureAlgorithm,
};
use rustls::pki_types::CertificateDer;

use super::forge::{Ca, DB, HOUR, WEB, domain, identity, set_period, trust, uri_name, with_list};
use crate::identity::CertificateFault;
use crate::identity::trust::{Bearer, Revocation, Trust};
use crate::model::Identity;

type Chain = Vec<CertificateDer<'static>>;

fn verify_as(trust: &Trust, chain: &Chain, bearer: Bearer) -> Result<Identity, CertificateFault> {
    trust.verify(chain, bearer, None, SystemTime::now())
}

/// What a server says to a client that shows this chain.
fn verify(trust: &Trust, chain: &Chain) -> Result<Identity, CertificateFault> {
    verify_as(trust, chain, Bearer::Client)
}

/// The fault that one certificate of an otherwise good authority is refused with.
fn fault_of(deviate: impl FnOnce(&mut rcgen::CertificateParams)) -> CertificateFault {
    let ca = Ca::new("root");
    verify(&trust(&[("cluster.local", &ca)]), &vec![ca.leaf_with(WEB, deviate)]).unwrap_err()
}

/// The one thing that a usage fault found.
fn found_usage(fault: &CertificateFault) -> &str {
    match fault {
        CertificateFault::Usage { found } => found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_certificate_is_accepted_on_both_sides() {
    let ca = Ca::new("root");
    let trust = trust(&[("cluster.local", &ca)]);
    for bearer in [Bearer::Client, Bearer::Server, Bearer::Standing] {
        assert_eq!(verify_as(&trust, &vec![ca.leaf(WEB)], bearer), Ok(identity(WEB)));
    }
}

#[test]
fn other_alternative_names_beside_the_uri_count_for_nothing() {
    let ca = Ca::new("root");
    let leaf = ca.leaf_with(WEB, |params| {
        params.subject_alt_names.push(SanType::DnsName("web.shop.svc".try_into().unwrap()));
        params.distinguished_name.push(DnType::CommonName, "web");
    });
    assert_eq!(verify(&trust(&[("cluster.local", &ca)]), &vec![leaf]), Ok(identity(WEB)));
}

#[test]
fn expired_and_not_yet_valid_certificates_are_refused() {
    let now = SystemTime::now();
    let fault = fault_of(|params| set_period(params, now - 2 * HOUR, now - Duration::from_secs(2)));
    assert!(matches!(fault, CertificateFault::Expired { .. }), "{fault:?}");
    let fault = fault_of(|params| set_period(params, now + HOUR, now + 2 * HOUR));
    assert!(matches!(fault, CertificateFault::NotYetValid { .. }), "{fault:?}");
}

#[test]
fn an_authority_whose_time_is_over_vouches_for_nobody() {
    let now = SystemTime::now();
    let ca = Ca::with("root", |params| set_period(params, now - 48 * HOUR, now - HOUR));
    let other = Ca::new("another root");
    let mut trust = trust(&[("cluster.local", &ca)]);
    let bundle = crate::identity::Bundle::new(vec![ca.der.clone(), other.der.clone()]).unwrap();
    trust.bundles.insert(domain("cluster.local"), std::sync::Arc::new(bundle));
    let fault = verify(&trust, &vec![ca.leaf(WEB)]).unwrap_err();
    assert_eq!(fault, CertificateFault::UnknownIssuer { trust_domain: "cluster.local".to_owned() });
    assert!(verify(&trust, &vec![other.leaf(WEB)]).is_ok(), "the other one of the bundle still does");
}

#[test]
fn an_identity_of_a_trust_domain_without_a_bundle_is_refused() {
    let ca = Ca::new("root");
    let leaf = ca.leaf("spiffe://elsewhere.org/ns/shop/sa/web");
    let fault = verify(&trust(&[("cluster.local", &ca)]), &vec![leaf]).unwrap_err();
    let (known, found) = ("cluster.local".to_owned(), "elsewhere.org".to_owned());
    assert_eq!(fault, CertificateFault::TrustDomain { known, found });
}

#[test]
fn an_authority_of_one_domain_never_vouches_for_another() {
    let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
    let trust = trust(&[("cluster.local", &ours), ("partner.org", &theirs)]);
    let guest = "spiffe://partner.org/ns/shop/sa/web";
    assert_eq!(verify(&trust, &vec![theirs.leaf(guest)]), Ok(identity(guest)));
    for (ca, name, domain) in [(&ours, guest, "partner.org"), (&theirs, WEB, "cluster.local")] {
        let fault = verify(&trust, &vec![ca.leaf(name)]).unwrap_err();
        assert_eq!(fault, CertificateFault::UnknownIssuer { trust_domain: domain.to_owned() });
    }
    // Nor when it brings the certificate of the other domain's authority along.
    let chain = vec![theirs.leaf(WEB), theirs.der.clone(), ours.der.clone()];
    assert!(matches!(verify(&trust, &chain), Err(CertificateFault::UnknownIssuer { .. })));
}

#[test]
fn an_authority_of_the_same_name_with_another_key_is_refused() {
    let (real, fake) = (Ca::new("root"), Ca::new("root"));
    let fault = verify(&trust(&[("cluster.local", &real)]), &vec![fake.leaf(WEB)]).unwrap_err();
    assert!(matches!(fault, CertificateFault::Signature { .. }), "{fault:?}");
}

#[test]
fn the_client_takes_no_other_identity_than_those_expected() {
    let ca = Ca::new("root");
    let trust = trust(&[("cluster.local", &ca)]);
    let (chain, now) = (vec![ca.leaf(WEB)], SystemTime::now());
    let fault = trust.verify(&chain, Bearer::Server, Some(&[identity(DB)]), now).unwrap_err();
    assert_eq!(fault, CertificateFault::OtherIdentity { expected: DB.to_owned(), found: identity(WEB) });
    assert!(fault.to_string().contains(&format!("expected the identity {DB}, found {WEB}")));
    assert!(
        trust.verify(&chain, Bearer::Server, Some(&[]), now).is_err(),
        "nobody expected is nobody let in"
    );
    assert!(trust.verify(&chain, Bearer::Server, Some(&[identity(DB), identity(WEB)]), now).is_ok());
}

#[test]
fn two_uris_no_uri_and_no_names_at_all_are_refused() {
    let fault = fault_of(|params| params.subject_alt_names.push(uri_name(DB)));
    assert_eq!(fault, CertificateFault::NotOneName { found: 2 });
    let fault = fault_of(|params| params.subject_alt_names.push(uri_name("https://example.com/")));
    assert_eq!(fault, CertificateFault::NotOneName { found: 2 }, "of whatever scheme");
    let fault =
        fault_of(|params| params.subject_alt_names = vec![SanType::DnsName("web.shop".try_into().unwrap())]);
    assert_eq!(fault, CertificateFault::NotOneName { found: 0 });
    let fault = fault_of(|params| params.subject_alt_names.clear());
    assert_eq!(fault, CertificateFault::NotOneName { found: 0 });
}

#[test]
fn a_uri_that_is_no_identity_is_refused() {
    for uri in [
        "spiffe://cluster.local/ns/shop/sa/web\0.evil",
        "spiffe://cluster.local\0.evil.org/ns/shop/sa/web",
        "spiffe://cluster.local/ns/shop/sa/web%00",
        "spiffe://cluster.local/ns/shop%2Fsa%2Fweb/sa/db",
        "spiffe://cluster.local/ns/%73hop/sa/web",
        "spiffe://cluster.local/ns/../sa/web",
        "SPIFFE://cluster.local/ns/shop/sa/web",
        "spiffe://Cluster.Local/ns/shop/sa/web",
        "spiffe://cluster.local:443/ns/shop/sa/web",
        "spiffe://cluster.local@evil.org/ns/shop/sa/web",
        "spiffe://cluster.local/ns/shop/sa/web/",
        "spiffe://cluster.local/ns/shop/sa/web/more",
        "spiffe://cluster.local/ns/shop/sa/web?admin",
        "spiffe://cluster.local/ns/shop/sa/web#admin",
        "spiffe://cluster.local",
        "https://cluster.local/ns/shop/sa/web",
        "",
    ] {
        let fault = fault_of(|params| params.subject_alt_names = vec![uri_name(uri)]);
        assert!(matches!(fault, CertificateFault::Name(_)), "{uri:?}: {fault:?}");
    }
}

#[test]
fn a_uri_that_is_not_ascii_is_refused() {
    let ca = Ca::new("root");
    let good = ca.leaf(WEB);
    let at = find(&good, b"/sa/web");
    let mut der = good.to_vec();
    der[at + 6] = 0xe9;
    let fault = verify(&trust(&[("cluster.local", &ca)]), &vec![der.into()]).unwrap_err();
    assert!(matches!(fault, CertificateFault::Malformed { .. }), "{fault:?}");
}

#[test]
fn a_self_signed_certificate_is_refused() {
    let key = KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![uri_name(WEB)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let der = params.self_signed(&key).unwrap().der().clone();
    let fault = verify(&trust(&[("cluster.local", &Ca::new("root"))]), &vec![der]).unwrap_err();
    assert_eq!(fault, CertificateFault::UnknownIssuer { trust_domain: "cluster.local".to_owned() });
}

/// An RSA key of 1024 bits. Nobody has its private half, and nobody needs it to be refused.
struct ShortRsa(Vec<u8>);

impl ShortRsa {
    fn new() -> Self {
        let mut der = vec![0x30, 0x81, 0x89, 0x02, 0x81, 0x81, 0x00];
        der.extend([0xc5; 128]);
        der.extend([0x02, 0x03, 0x01, 0x00, 0x01]);
        Self(der)
    }
}

impl PublicKeyData for ShortRsa {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

#[test]
fn a_short_rsa_key_is_refused() {
    let ca = Ca::new("root");
    let leaf = ca.leaf_of_key(WEB, &ShortRsa::new(), |_| {});
    let fault = verify(&trust(&[("cluster.local", &ca)]), &vec![leaf]).unwrap_err();
    assert_eq!(fault, CertificateFault::WeakKey { found: "RSA with 1024 bits".to_owned() });
}

#[test]
fn an_rsa_key_of_2048_bits_is_accepted() {
    let ca = Ca::new("root");
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let leaf = ca.leaf_of_key(WEB, &key, |_| {});
    assert_eq!(verify(&trust(&[("cluster.local", &ca)]), &vec![leaf]), Ok(identity(WEB)));
}

#[test]
fn an_authority_with_a_short_key_is_not_taken_into_a_bundle() {
    let root = Ca::new("root");
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let der = params.signed_by(&ShortRsa::new(), &root.issuer).unwrap().der().clone();
    let error = crate::identity::Bundle::new(vec![root.der, der]).unwrap_err();
    assert!(error.contains("certificate 2 of the bundle") && error.contains("RSA with 1024 bits"), "{error}");
}

#[test]
fn the_certificate_of_a_workload_is_not_taken_into_a_bundle() {
    let error = crate::identity::Bundle::new(vec![Ca::new("root").leaf(WEB)]).unwrap_err();
    assert!(error.contains("not that of a certificate authority"), "{error}");
}

#[test]
fn a_certificate_on_a_revocation_list_is_refused() {
    let ca = Ca::new("root");
    let list = ca.revoke(&[7], SystemTime::now());
    let trust = with_list(trust(&[("cluster.local", &ca)]), &list);
    let numbered = |serial: u64| {
        let serial = Some(SerialNumber::from(serial));
        vec![ca.leaf_with(WEB, |params| params.serial_number = serial)]
    };
    for bearer in [Bearer::Client, Bearer::Server, Bearer::Standing] {
        assert_eq!(verify_as(&trust, &numbered(7), bearer), Err(CertificateFault::Revoked), "{bearer:?}");
        assert!(verify_as(&trust, &numbered(8), bearer).is_ok());
    }
}

#[test]
fn a_revoked_intermediate_vouches_for_nobody() {
    let root = Ca::new("root");
    let serial = Some(SerialNumber::from(9));
    let middle = root.below("middle", |params| params.serial_number = serial);
    let trust = with_list(trust(&[("cluster.local", &root)]), &root.revoke(&[9], SystemTime::now()));
    let chain = vec![middle.leaf(WEB), middle.der.clone()];
    assert_eq!(verify(&trust, &chain), Err(CertificateFault::Revoked));
}

#[test]
fn a_revocation_list_that_is_expired_lets_nobody_in_and_cuts_nobody_off() {
    let ca = Ca::new("root");
    let list = ca.revoke(&[7], SystemTime::now() - 2 * HOUR);
    let trust = with_list(trust(&[("cluster.local", &ca)]), &list);
    let chain = vec![ca.leaf(WEB)];
    let fault = verify(&trust, &chain).unwrap_err();
    assert!(
        matches!(&fault, CertificateFault::Revocation { found } if found.contains("expired")),
        "{fault:?}"
    );
    assert!(verify_as(&trust, &chain, Bearer::Standing).is_ok());
}

#[test]
fn a_revocation_list_that_somebody_else_signed_lets_nobody_in() {
    let (ca, forger) = (Ca::new("root"), Ca::new("root"));
    let trust = with_list(trust(&[("cluster.local", &ca)]), &forger.revoke(&[], SystemTime::now()));
    let fault = verify(&trust, &vec![ca.leaf(WEB)]).unwrap_err();
    assert!(matches!(fault, CertificateFault::Revocation { .. }), "{fault:?}");
}

#[test]
fn revocation_lists_that_cannot_be_read_let_nobody_in_and_cut_nobody_off() {
    let ca = Ca::new("root");
    let mut trust = trust(&[("cluster.local", &ca)]);
    trust.revocation = Revocation::Unreadable("no such file".to_owned());
    let chain = vec![ca.leaf(WEB)];
    for bearer in [Bearer::Client, Bearer::Server] {
        let found = "no such file".to_owned();
        assert_eq!(verify_as(&trust, &chain, bearer), Err(CertificateFault::Revocation { found }));
    }
    assert!(verify_as(&trust, &chain, Bearer::Standing).is_ok());
}

#[test]
fn a_list_of_one_authority_says_nothing_about_another() {
    let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
    let both = trust(&[("cluster.local", &ours), ("partner.org", &theirs)]);
    let trust = with_list(both, &theirs.revoke(&[7], SystemTime::now()));
    let leaf = ours.leaf_with(WEB, |params| params.serial_number = Some(SerialNumber::from(7)));
    assert!(verify(&trust, &vec![leaf]).is_ok());
}

#[test]
fn an_authority_is_no_workload() {
    let fault = fault_of(|params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    });
    assert_eq!(found_usage(&fault), "that of a certificate authority");
    let fault = fault_of(|params| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    });
    assert_eq!(found_usage(&fault), "a key usage of certificate authorities");
}

#[test]
fn a_certificate_for_the_other_side_of_tls_is_refused() {
    let ca = Ca::new("root");
    let trust = trust(&[("cluster.local", &ca)]);
    let only = |usage| vec![ca.leaf_with(WEB, |params| params.extended_key_usages = vec![usage])];
    let (client, server) =
        (only(ExtendedKeyUsagePurpose::ClientAuth), only(ExtendedKeyUsagePurpose::ServerAuth));
    assert!(verify_as(&trust, &client, Bearer::Client).is_ok());
    assert!(verify_as(&trust, &server, Bearer::Server).is_ok());
    for (chain, bearer) in [(&client, Bearer::Server), (&server, Bearer::Client)] {
        let fault = verify_as(&trust, chain, bearer).unwrap_err();
        assert_eq!(found_usage(&fault), "an extended key usage without this side of TLS");
    }
    let none = vec![ca.leaf_with(WEB, |params| params.extended_key_usages.clear())];
    assert!(verify_as(&trust, &none, Bearer::Server).is_ok(), "without the extension any side will do");
}

#[test]
fn a_key_usage_without_signatures_is_refused() {
    let fault = fault_of(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]);
    assert_eq!(found_usage(&fault), "a key usage without digitalSignature");
    let fault = fault_of(|params| params.key_usages.clear());
    assert_eq!(found_usage(&fault), "no key usage");
}

#[test]
fn an_intermediate_that_is_no_authority_vouches_for_nobody() {
    let root = Ca::new("root");
    let trust = trust(&[("cluster.local", &root)]);
    for no_authority in [IsCa::ExplicitNoCa, IsCa::NoCa] {
        let workload = root.below("workload", |params| params.is_ca = no_authority);
        let fault = verify(&trust, &vec![workload.leaf(WEB), workload.der.clone()]).unwrap_err();
        assert_eq!(found_usage(&fault), "an issuer that is no certificate authority");
    }
    let idle = root.below("idle", |params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    let fault = verify(&trust, &vec![idle.leaf(WEB), idle.der.clone()]).unwrap_err();
    assert!(found_usage(&fault).contains("keyCertSign"), "{fault:?}");
}

#[test]
fn a_path_longer_than_an_authority_allows_is_refused() {
    let root = Ca::with("root", |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let first = root.below("first", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let second = first.below("second", |_| {});
    let trust = trust(&[("cluster.local", &root)]);
    assert!(verify(&trust, &vec![first.leaf(WEB), first.der.clone()]).is_ok());
    let chain = vec![second.leaf(WEB), second.der.clone(), first.der.clone()];
    assert_eq!(
        found_usage(&verify(&trust, &chain).unwrap_err()),
        "a chain longer than one of its authorities allows"
    );
}

#[test]
fn a_chain_of_too_many_certificates_is_refused_before_it_is_looked_at() {
    let ca = Ca::new("root");
    let chain = vec![ca.leaf(WEB); 9];
    assert_eq!(
        verify(&trust(&[("cluster.local", &ca)]), &chain),
        Err(CertificateFault::TooLong { found: 9 })
    );
    assert_eq!(verify(&trust(&[("cluster.local", &ca)]), &Vec::new()), Err(CertificateFault::Missing));
}

#[test]
fn a_critical_extension_that_nobody_knows_is_refused() {
    let unknown = |critical| {
        let mut extension =
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![0x05, 0x00]);
        extension.set_criticality(critical);
        extension
    };
    let fault = fault_of(|params| params.custom_extensions = vec![unknown(true)]);
    assert!(matches!(&fault, CertificateFault::Malformed { what } if what.contains("Critical")), "{fault:?}");
    let ca = Ca::new("root");
    let leaf = ca.leaf_with(WEB, |params| params.custom_extensions = vec![unknown(false)]);
    assert!(verify(&trust(&[("cluster.local", &ca)]), &vec![leaf]).is_ok(), "others are passed over");
}

#[test]
fn a_second_extension_of_one_kind_is_refused() {
    // A second subjectAltName, which says somebody else.
    let mut content = vec![0x30, DB.len() as u8 + 2, 0x86, DB.len() as u8];
    content.extend(DB.as_bytes());
    let second = CustomExtension::from_oid_content(&[2, 5, 29, 17], content);
    let fault = fault_of(|params| params.custom_extensions = vec![second]);
    assert!(matches!(fault, CertificateFault::Malformed { .. }), "{fault:?}");
}

#[test]
fn a_signature_with_sha_1_is_refused() {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).unwrap().der().clone();
    let ca = Ca { issuer: rcgen::Issuer::new(params, key), der: root };
    let mut der = ca.leaf(WEB).to_vec();
    // sha256WithRSAEncryption becomes sha1WithRSAEncryption, in both places.
    let sha256 = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
    for _ in 0..2 {
        let at = find(&der, &sha256);
        der[at + 8] = 0x05;
    }
    let fault = verify(&trust(&[("cluster.local", &ca)]), &vec![der.into()]).unwrap_err();
    let found = "one of an algorithm that is not taken".to_owned();
    assert_eq!(fault, CertificateFault::Signature { found });
}

#[test]
fn a_changed_byte_anywhere_is_refused() {
    let ca = Ca::new("root");
    let trust = trust(&[("cluster.local", &ca)]);
    let good = ca.leaf(WEB);
    for at in 0..good.len() {
        let mut der = good.to_vec();
        der[at] ^= 0x01;
        assert!(verify(&trust, &vec![der.into()]).is_err(), "byte {at}");
    }
}

#[test]
fn truncated_and_extended_certificates_and_garbage_are_refused() {
    let ca = Ca::new("root");
    let trust = trust(&[("cluster.local", &ca)]);
    let good = ca.leaf(WEB);
    for length in 0..good.len() {
        let fault = verify(&trust, &vec![good[..length].to_vec().into()]).unwrap_err();
        assert!(matches!(fault, CertificateFault::Malformed { .. }), "{length}: {fault:?}");
    }
    let mut longer = good.to_vec();
    longer.push(0);
    for der in [
        longer,
        vec![0xff; 500],
        b"-----BEGIN CERTIFICATE-----".to_vec(),
        vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
    ] {
        let fault = verify(&trust, &vec![der.into()]).unwrap_err();
        assert!(matches!(fault, CertificateFault::Malformed { .. }), "{fault:?}");
    }
    // Garbage among the intermediates helps nobody, and hurts nobody who does not need it.
    assert!(verify(&trust, &vec![good, vec![0xff; 500].into()]).is_ok());
    let stranger = Ca::new("stranger").leaf(WEB);
    assert!(verify(&trust, &vec![stranger, vec![0xff; 500].into()]).is_err());
}

/// Where some bytes are first.
fn find(hay: &[u8], needle: &[u8]) -> usize {
    hay.windows(needle.len()).position(|window| window == needle).unwrap()
}
