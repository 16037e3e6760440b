//! `originate-tls:` and `serve-tls:`: what the instance does at the edge of the workload.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_saphyr::Spanned;

use super::entry::Entry;
use super::or;
use crate::config::settings::{
    CertificateFiles, EdgeSettings, OriginateProtocol, OriginateSettings, ServeProtocol, ServeSettings,
};
use crate::config::value::{Scalar, Value};
use crate::config::yaml::Part;
use crate::config::{AdminSettings, ConfigError};
use crate::model::{Host, Remote};

/// One entry of `originate-tls`.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "an entry such as { listen: 127.0.0.1:5432, to: db.example.com:5432, protocol: postgres, ca: /ca.pem }"
)]
pub(super) struct WrittenOrigination {
    listen: Value<SocketAddr>,
    to: Value<Remote>,
    protocol: Option<Value<OriginateProtocol>>,
    server_name: Option<Value<Host>>,
    ca: Value<PathBuf>,
    certificate: Option<WrittenCertificate>,
}

/// One entry of `serve-tls`.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "an entry such as { listen: 0.0.0.0:8443, to: 127.0.0.1:8080, certificate: /certs }"
)]
pub(super) struct WrittenTermination {
    listen: Value<SocketAddr>,
    to: Value<SocketAddr>,
    protocol: Option<Value<ServeProtocol>>,
    certificate: WrittenCertificate,
    client_ca: Option<Value<PathBuf>>,
}

/// `explicit:`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping of settings")]
pub(super) struct WrittenExplicit {
    address: Value<SocketAddr>,
}

/// A directory, or two files.
#[derive(Debug)]
struct WrittenCertificate(CertificateFiles);

/// The two files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a certificate and its key")]
struct WrittenFiles {
    certificate: Value<PathBuf>,
    key: Value<PathBuf>,
}

impl<'de> Deserialize<'de> for WrittenCertificate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CertificateVisitor).map(Self)
    }
}

struct CertificateVisitor;

impl<'de> Visitor<'de> for CertificateVisitor {
    type Value = CertificateFiles;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a directory with tls.crt and tls.key, or { certificate: FILE, key: FILE }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        PathBuf::read(text).map(CertificateFiles::Directory).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let WrittenFiles { certificate: Value(certificate), key: Value(key) } =
            WrittenFiles::deserialize(MapAccessDeserializer::new(map))?;
        Ok(CertificateFiles::Files { certificate, key })
    }
}

/// What is written about the edge.
#[derive(Default)]
pub(super) struct WrittenEdge {
    pub(super) originate: Option<Vec<Spanned<WrittenOrigination>>>,
    pub(super) serve: Option<Vec<Spanned<WrittenTermination>>>,
    pub(super) explicit: Option<Spanned<WrittenExplicit>>,
}

impl WrittenEdge {
    /// The settings, if nothing in them is in the way of anything else.
    pub(super) fn settings(
        self,
        admin: Option<&AdminSettings>,
        part: Part<'_>,
    ) -> Result<EdgeSettings, ConfigError> {
        let mut taken: BTreeSet<SocketAddr> = admin.iter().map(|admin| admin.address).collect();
        let mut originate = Vec::new();
        for (index, Spanned { value, referenced, .. }) in
            self.originate.unwrap_or_default().into_iter().enumerate()
        {
            let at = Entry { list: "originate-tls", index, location: referenced, part };
            let settings = value.settings(at)?;
            at.take(&mut taken, settings.listen)?;
            originate.push(settings);
        }
        let mut serve = Vec::new();
        for (index, Spanned { value, referenced, .. }) in
            self.serve.unwrap_or_default().into_iter().enumerate()
        {
            let at = Entry { list: "serve-tls", index, location: referenced, part };
            let settings = value.settings(at)?;
            at.take(&mut taken, settings.listen)?;
            serve.push(settings);
        }
        let explicit = self.explicit.map(|Spanned { value, referenced, .. }| {
            let Value(address) = value.address;
            let wrong = |message| Err(part.invalid(referenced, "explicit.address", message));
            if !address.ip().to_canonical().is_loopback() {
                return wrong(format!(
                    "expected an address of loopback, such as 127.0.0.1:{}, since this is no open proxy, found {address}",
                    address.port()
                ));
            }
            if !taken.insert(address) {
                return wrong(format!("expected an address that nothing else listens at, found {address} again"));
            }
            Ok(address)
        });
        Ok(EdgeSettings { originate, serve, explicit: explicit.transpose()? })
    }
}

impl Entry<'_> {
    /// Two cannot listen at one address.
    fn take(self, taken: &mut BTreeSet<SocketAddr>, listen: SocketAddr) -> Result<(), ConfigError> {
        if taken.insert(listen) {
            return Ok(());
        }
        Err(self.invalid(
            "listen",
            format!("expected an address that nothing else listens at, found {listen} again"),
        ))
    }
}

impl WrittenOrigination {
    fn settings(self, at: Entry<'_>) -> Result<OriginateSettings, ConfigError> {
        let (Value(listen), Value(to), Value(ca)) = (self.listen, self.to, self.ca);
        if !listen.ip().to_canonical().is_loopback() {
            let message = format!(
                "expected an address of loopback, such as 127.0.0.1:{}, since whoever connects there speaks in our name, found {listen}",
                listen.port()
            );
            return Err(at.invalid("listen", message));
        }
        Ok(OriginateSettings {
            listen,
            server_name: or(self.server_name, to.host.clone()),
            to,
            protocol: or(self.protocol, OriginateProtocol::default()),
            ca,
            certificate: self.certificate.map(|WrittenCertificate(files)| files),
        })
    }
}

impl WrittenTermination {
    fn settings(self, at: Entry<'_>) -> Result<ServeSettings, ConfigError> {
        let (Value(listen), Value(to)) = (self.listen, self.to);
        if !to.ip().to_canonical().is_loopback() {
            let message = format!(
                "expected where the app listens on loopback, such as 127.0.0.1:{}, found {to}; an app that others reach \
                 would be reached without TLS too",
                to.port()
            );
            return Err(at.invalid("to", message));
        }
        let reaches = listen.ip().is_unspecified() || listen.ip() == to.ip();
        if reaches && to.port() == listen.port() {
            let message = format!("expected another address than that of listen, found {to} again");
            return Err(at.invalid("to", message));
        }
        Ok(ServeSettings {
            listen,
            to,
            protocol: or(self.protocol, ServeProtocol::default()),
            certificate: self.certificate.0,
            client_ca: self.client_ca.map(|Value(path)| path),
        })
    }
}
