//! The listeners at the edge of the workload, with the TLS that they need: `config`, `identity` and `proxy` do not know each
//! other, this joins them.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use rustls::pki_types::ServerName;

use crate::config::{
    CertificateFiles, Config, OriginateProtocol, OriginateSettings, ServeProtocol, ServeSettings,
};
use crate::identity::host::{self, HostFiles};
use crate::model::{Host, Protocol, UpstreamAddr};
use crate::proxy::{Edge, Entry, Negotiation, Origination, Termination};
use crate::sys::socket::listen_beside;

/// What is said in TLS of the protocol within it (ALPN): nothing, unless it is known.
const UNSAID: &[&[u8]] = &[];
const HTTP1: &[&[u8]] = &[b"http/1.1"];
const HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];
const HTTP2: &[&[u8]] = &[b"h2"];

/// Opens what a configuration asks for. Nothing is accepted yet.
pub(super) fn open(config: &Config) -> Result<Vec<(TcpListener, Entry)>> {
    let originate = config.edge.originate.iter().map(|settings| {
        let opened = originate(settings).and_then(|origination| {
            Ok((listen_beside(settings.listen)?, Entry::Edge(Edge::Originate(Arc::new(origination)))))
        });
        opened.with_context(|| {
            format!("add TLS towards {} at {} (originate-tls)", settings.to, settings.listen)
        })
    });
    let serve = config.edge.serve.iter().map(|settings| {
        let opened = terminate(settings).and_then(|termination| {
            Ok((listen_beside(settings.listen)?, Entry::Edge(Edge::Terminate(Arc::new(termination)))))
        });
        opened.with_context(|| format!("serve TLS at {} (serve-tls)", settings.listen))
    });
    let explicit = config.edge.explicit.map(|address| {
        let listener = listen_beside(address).with_context(|| {
            format!("listen at {address} for programs that address us (explicit.address)")
        })?;
        Ok((listener, Entry::Edge(Edge::Explicit)))
    });
    originate.chain(serve).chain(explicit).collect()
}

fn terminate(settings: &ServeSettings) -> Result<Termination> {
    let (protocols, app) = match settings.protocol {
        ServeProtocol::Http => (HTTP, Some(Protocol::Http1)),
        ServeProtocol::Http2 => (HTTP2, Some(Protocol::Http2)),
        ServeProtocol::Tcp => (UNSAID, None),
    };
    let followed = host::server(files(&settings.certificate), settings.client_ca.clone(), protocols);
    let followed = followed.map_err(|error| anyhow!(error))?;
    Ok(Termination::new(UpstreamAddr(settings.to), app, Box::new(move || followed.current())))
}

fn originate(settings: &OriginateSettings) -> Result<Origination> {
    let (negotiation, protocols) = match settings.protocol {
        OriginateProtocol::Tls => (Negotiation::AtOnce, UNSAID),
        OriginateProtocol::Https => (Negotiation::AtOnce, HTTP1),
        OriginateProtocol::Postgres => (Negotiation::Postgres, UNSAID),
        OriginateProtocol::Mysql => (Negotiation::Mysql, UNSAID),
    };
    let files = settings.certificate.as_ref().map(files);
    let followed = host::client(settings.ca.clone(), files, protocols).map_err(|error| anyhow!(error))?;
    let server_name = match &settings.server_name {
        Host::Address(address) => ServerName::IpAddress((*address).into()),
        Host::Name(name) => ServerName::try_from(name.to_string()).context("use server-name in TLS")?,
    };
    Ok(Origination {
        remote: settings.to.clone(),
        server_name,
        negotiation,
        tls: Box::new(move || followed.current()),
    })
}

fn files(written: &CertificateFiles) -> HostFiles {
    match written {
        CertificateFiles::Directory(directory) => HostFiles::in_directory(directory),
        CertificateFiles::Files { certificate, key } => {
            HostFiles { certificate: certificate.clone(), key: key.clone() }
        }
    }
}
