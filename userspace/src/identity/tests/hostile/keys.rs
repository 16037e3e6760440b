//! Keys and signatures that are too weak, and authorities that are none.

use super::*;

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
