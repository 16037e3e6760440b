//! Bytes that are no certificate, or almost one.

use super::*;

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
