//! Credentials for tests: every identity has one self-signed certificate that everybody knows, and nothing else is trusted.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    version::TLS13,
};
use tokio::sync::watch;

use super::super::Credentials;
use crate::model::Identity;

/// Everybody's certificates.
#[derive(Debug, Default)]
pub(super) struct World(Mutex<HashMap<Identity, (CertificateDer<'static>, Vec<u8>)>>);

impl World {
    fn of(&self, identity: &Identity) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut world = self.0.lock().unwrap();
        let (certificate, key) = world.entry(identity.clone()).or_insert_with(|| {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.subject_alt_names = vec![SanType::URI(identity.as_str().try_into().unwrap())];
            (params.self_signed(&key).unwrap().into(), key.serialize_der())
        });
        (certificate.clone(), PrivateKeyDer::Pkcs8(key.clone().into()))
    }

    fn who(&self, certificate: &CertificateDer<'_>) -> Option<Identity> {
        let world = self.0.lock().unwrap();
        world.iter().find(|(_, (known, _))| known == certificate).map(|(identity, _)| identity.clone())
    }
}

/// The credentials of one workload.
#[derive(Debug)]
pub(super) struct Pinned {
    world: Arc<World>,
    identity: Identity,
    /// Who is no longer trusted.
    pub(super) revoked: Mutex<Vec<Identity>>,
    pub(super) changes: watch::Sender<u64>,
}

impl Pinned {
    pub(super) fn new(world: &Arc<World>, identity: &Identity) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            identity: identity.clone(),
            revoked: Mutex::default(),
            changes: watch::Sender::new(0),
        })
    }
}

impl Credentials for Pinned {
    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn client(&self, expected: &Identity) -> io::Result<Arc<ClientConfig>> {
        let (certificate, key) = self.world.of(&self.identity);
        let verifier = Verifier { world: Arc::clone(&self.world), expected: Some(expected.clone()) };
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    fn server(&self) -> io::Result<Arc<ServerConfig>> {
        let (certificate, key) = self.world.of(&self.identity);
        let verifier = Verifier { world: Arc::clone(&self.world), expected: None };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(verifier))
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    fn peer(&self, chain: &[CertificateDer<'_>]) -> io::Result<Identity> {
        let identity = chain.first().and_then(|leaf| self.world.who(leaf));
        identity.ok_or_else(|| io::Error::other("nobody has this certificate"))
    }

    fn verify_again(&self, chain: &[CertificateDer<'_>]) -> io::Result<()> {
        let peer = self.peer(chain)?;
        if self.revoked.lock().unwrap().contains(&peer) {
            return Err(io::Error::other(format!("{peer} was revoked")));
        }
        Ok(())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[derive(Debug)]
struct Verifier {
    world: Arc<World>,
    /// Whoever it has to be; anybody that is known if absent.
    expected: Option<Identity>,
}

impl Verifier {
    fn verify(&self, leaf: &CertificateDer<'_>) -> Result<(), Error> {
        let who = self.world.who(leaf);
        let good = match &self.expected {
            Some(expected) => who.as_ref() == Some(expected),
            None => who.is_some(),
        };
        if good {
            Ok(())
        } else {
            Err(Error::General(format!("expected {:?}, found {who:?}", self.expected)))
        }
    }
}

/// What both verifiers do alike.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &CertificateDer<'_>,
            _signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::General("TLS 1.2 is not spoken".to_owned()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = provider().signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signature, &algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            provider().signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(leaf).map(|()| ServerCertVerified::assertion())
    }

    signatures!();
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(leaf).map(|()| ClientCertVerified::assertion())
    }

    signatures!();
}
