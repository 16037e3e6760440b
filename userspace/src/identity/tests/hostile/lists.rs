//! Revocation lists: what they refuse, and when they refuse everybody.

use super::*;

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
