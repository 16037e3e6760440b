//! Certificate revocation lists, as files hold them. Their signatures are checked where chains are verified.

use std::time::SystemTime;

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject as _;
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::certificate::system_time;

/// Most lists in one file.
const MOST_LISTS: usize = 100;

/// A list of revoked certificates. Lists fail closed.
///
/// One speaks for its issuer only: certificates of issuers without a list are not checked against any. For an issuer
/// with one, a list that is expired (nextUpdate) or not signed by that issuer refuses all of its certificates. And when
/// a configured file is missing, unreadable or no list, everybody is refused until it is good again. All of that holds
/// for new connections; one that stands is cut only if a list names it.
#[derive(Debug)]
pub struct RevocationList {
    pub(super) der: CertificateRevocationListDer<'static>,
    pub(super) list: CertRevocationList<'static>,
    /// The distinguished name of its issuer.
    pub issuer: String,
    /// Until when it counts.
    pub next_update: Option<SystemTime>,
    /// How many certificates are on it.
    pub revoked: usize,
}

impl PartialEq for RevocationList {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

/// The lists of a file, in PEM or one in DER.
///
/// # Errors
/// There is none in it, or one that cannot be read.
pub fn read_lists(bytes: &[u8]) -> Result<Vec<RevocationList>, String> {
    let pem = bytes.windows(11).any(|window| window == b"-----BEGIN ");
    if !pem {
        return Ok(vec![read_list(CertificateRevocationListDer::from(bytes.to_vec()))?]);
    }
    let mut lists = Vec::new();
    for der in CertificateRevocationListDer::pem_slice_iter(bytes) {
        if lists.len() == MOST_LISTS {
            return Err(format!("expected at most {MOST_LISTS} revocation lists in one file, found more"));
        }
        lists.push(read_list(der.map_err(|error| format!("expected revocation lists in PEM: {error}"))?)?);
    }
    if lists.is_empty() { Err("expected a revocation list in PEM, found none".to_owned()) } else { Ok(lists) }
}

fn read_list(der: CertificateRevocationListDer<'static>) -> Result<RevocationList, String> {
    let wrong =
        |error: &dyn std::fmt::Display| format!("expected an X.509 revocation list (version 2): {error}");
    let list = OwnedCertRevocationList::from_der(&der).map_err(|error| wrong(&error))?;
    let (_, shown) = CertificateRevocationList::from_der(&der).map_err(|error| wrong(&error))?;
    let issuer = shown.issuer().to_string();
    let next_update = shown.next_update().map(|time| system_time(time.timestamp()));
    let revoked = shown.iter_revoked_certificates().count();
    Ok(RevocationList { list: list.into(), issuer, next_update, revoked, der })
}
