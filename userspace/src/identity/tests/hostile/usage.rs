//! Certificates used for what they were not issued for.

use super::*;

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
