//! A corpus of hostile certificates, each with the fault that it has to be refused with.

mod bytes;
mod keys;
mod lists;
mod usage;

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

/// Where some bytes are first.
fn find(hay: &[u8], needle: &[u8]) -> usize {
    hay.windows(needle.len()).position(|window| window == needle).unwrap()
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
fn a_connection_that_stands_outlives_its_certificate_but_not_its_authority() {
    let ca = Ca::new("root");
    let now = SystemTime::now();
    let chain = vec![ca.leaf_with(WEB, |params| set_period(params, now - 2 * HOUR, now - HOUR))];
    assert!(verify_as(&trust(&[("cluster.local", &ca)]), &chain, Bearer::Standing).is_ok());
    let others = trust(&[("cluster.local", &Ca::new("another root"))]);
    assert!(matches!(
        verify_as(&others, &chain, Bearer::Standing),
        Err(CertificateFault::UnknownIssuer { .. })
    ));
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
