//! What the fuzzer starts from: one good input of each kind, and its simplest relatives.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ED25519,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

/// Every target there is, by its name in tests/fuzz.
pub(super) const TARGETS: [&str; 10] = [
    "leaf",
    "identity",
    "revocation",
    "bundle",
    "trace",
    "path",
    "route",
    "authorization",
    "heads",
    "opening",
];

const NAME: &str = "spiffe://cluster.local/ns/shop/sa/web";

/// Writes the seeds of a target into its corpus.
pub(super) fn plant(target: &str, corpus: &Path) -> Result<()> {
    let seeds = match target {
        "leaf" => leaves()?,
        "revocation" => lists()?,
        "bundle" => bundles()?,
        "trace" => contexts(),
        "path" => texts(&PATHS),
        "route" => texts(&ROUTES),
        "authorization" => texts(&POLICIES),
        "heads" => heads(),
        "opening" => openings(),
        _ => identities(),
    };
    for (index, seed) in seeds.iter().enumerate() {
        let path = corpus.join(format!("seed-{index}"));
        fs::write(&path, seed).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// First bytes of connections, and requests.
fn heads() -> Vec<Vec<u8>> {
    [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}\0\u{5}",
        "PING\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

/// A root and its key.
fn authority(name: &str) -> Result<(rcgen::Certificate, Issuer<'static, KeyPair>)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok((params.self_signed(&key)?, Issuer::new(params, key)))
}

/// A greeting of MariaDB, a handshake response, and what PostgreSQL's clients ask first.
fn openings() -> Vec<Vec<u8>> {
    let greeting = b"\x0a5.5.5-10.11\0\x05\0\0\0abcdefgh\0\xfe\xff\x2d\x02\0\xff\x81\x15";
    let mut response = vec![0x85, 0xa6, 0x81, 0];
    response.resize(60, 0);
    vec![greeting.to_vec(), response, vec![0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]]
}

fn leaves() -> Result<Vec<Vec<u8>>> {
    let (_, issuer) = authority("root")?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(NAME.try_into()?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let mut seeds = Vec::new();
    for key in [KeyPair::generate()?, KeyPair::generate_for(&PKCS_ED25519)?] {
        seeds.push(params.signed_by(&key, &issuer)?.der().to_vec());
    }
    params.subject_alt_names.push(SanType::DnsName("web.shop.svc".try_into()?));
    params.subject_alt_names.push(SanType::IpAddress([10, 0, 0, 9].into()));
    params.distinguished_name.push(DnType::CommonName, "web");
    seeds.push(params.signed_by(&KeyPair::generate()?, &issuer)?.der().to_vec());
    params.subject_alt_names.push(SanType::URI(NAME.try_into()?));
    seeds.push(params.signed_by(&KeyPair::generate()?, &issuer)?.der().to_vec());
    Ok(seeds)
}

fn lists() -> Result<Vec<Vec<u8>>> {
    let (_, issuer) = authority("root")?;
    let revoked = |serial: u64| RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: date_time_ymd(2026, 1, 1),
        reason_code: Some(rcgen::RevocationReason::KeyCompromise),
        invalidity_date: None,
    };
    let mut seeds = Vec::new();
    for revoked_certs in [Vec::new(), vec![revoked(7), revoked(8)]] {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2027, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&issuer)?;
        seeds.push(list.der().to_vec());
        seeds.push(list.pem()?.into_bytes());
    }
    Ok(seeds)
}

fn bundles() -> Result<Vec<Vec<u8>>> {
    let (one, two) = (authority("one")?.0.pem(), authority("two")?.0.pem());
    Ok(vec![one.clone().into_bytes(), format!("a comment\n{one}\n{two}").into_bytes()])
}

/// Paths that were ways around a policy somewhere.
const PATHS: [&str; 8] = [
    "/app/../admin",
    "/app//",
    "/app/%2f",
    "/app/%2E./admin",
    "/app\\admin",
    "/xyz%30..//abc",
    "/%2Fapp%5cadmin",
    "/%252e%252e/%c0%ae#a",
];

/// Rules, and behind an empty line a request: see the target.
const ROUTES: [&str; 3] = [
    "p /a\ne /a/b\np /\n\nGET /a/b\n",
    "p /foo x=1\np /foo ?q=2\np /foo POST\n\nPOST /foo/bar?q=2 x=1\n",
    "p /a @*.example.com\ne /a @a.example.com\n\nGET /a @A.example.com:80\n",
];

/// Policies, and behind an empty line a call: see the target.
const POLICIES: [&str; 3] = [
    "allow p:td/ns/a/* /a* m:GET\ndeny !n:a h:*.example\n\ntd/ns/a/sa/x 10.0.0.1 80 GET b.example:80 /a/b",
    "deny i:10.0.0.0/8 !i:10.1.0.0/16 :80 :81\nallow /{*}/b /a/{**}\n\n- 10.1.0.1 81 GET - /a/b x-a=1 x-a=2",
    "try-deny x-a=1* !x-a=*2\naudit s:a/x d:fd00::/8\nallow\n\ntd/ns/a/sa/x fd00::1 80 POST h /a x-a=1",
];

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn identities() -> Vec<Vec<u8>> {
    [NAME, "spiffe://a_b-c.d/ns/x.y/sa/_", "spiffe://td/ns/a/sa/b%00", "spiffe://td/ns/../sa/b"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

/// Header fields as the target reads them: a digit for the name, then the value.
fn contexts() -> Vec<Vec<u8>> {
    [
        "000-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n1a=1,tenant@b=2\n1c=3",
        "24bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-d-05e3ac9a4f6e3b90",
        "2a3ce929d0e0e4736-00f067aa0ba902b7-1\n20",
        "34bf92f3577b34da6a3ce929d0e0e4736\n400f067aa0ba902b7\n505e3ac9a4f6e3b90\n61\n71",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
