//! What the instance does at the edge of the workload.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::model::{Host, Remote};

/// `originate-tls:`, `serve-tls:` and `explicit:`, all of which need a restart to change. No two of them listen at one address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeSettings {
    /// `originate-tls`.
    pub originate: Vec<OriginateSettings>,
    /// `serve-tls`.
    pub serve: Vec<ServeSettings>,
    /// `explicit`: where programs address us themselves, on loopback; nowhere if absent.
    pub explicit: Option<SocketAddr>,
}

/// One entry of `serve-tls`: TLS is taken off for an app that speaks none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeSettings {
    /// `listen`: where others connect to; never captured.
    pub listen: SocketAddr,
    /// `to`: where the app listens; an address of loopback.
    pub to: SocketAddr,
    /// `protocol`: what the app speaks; default `http`.
    pub protocol: ServeProtocol,
    /// `certificate`: what to present.
    pub certificate: CertificateFiles,
    /// `client-ca`: whom to believe the certificates of clients, which are demanded then.
    pub client_ca: Option<PathBuf>,
}

/// What an app speaks behind TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServeProtocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP/2, with prior knowledge.
    Http2,
    /// Something else.
    Tcp,
}

/// One entry of `originate-tls`: TLS is added towards a service elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginateSettings {
    /// `listen`: where the app connects to; an address of loopback.
    pub listen: SocketAddr,
    /// `to`: where the service is.
    pub to: Remote,
    /// `protocol`: how it begins to speak TLS; default `tls`.
    pub protocol: OriginateProtocol,
    /// `server-name`: who it has to prove to be; default: the host of `to`.
    pub server_name: Host,
    /// `ca`: whom to believe that.
    pub ca: PathBuf,
    /// `certificate`: what to present to a server that demands one.
    pub certificate: Option<CertificateFiles>,
}

/// How the protocol of a service begins to speak TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OriginateProtocol {
    /// With the first byte.
    #[default]
    Tls,
    /// With the first byte, saying that HTTP/1.1 comes then.
    Https,
    /// As PostgreSQL does.
    Postgres,
    /// As MySQL and MariaDB do.
    Mysql,
}

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateFiles {
    /// `tls.crt` and `tls.key` of a directory.
    Directory(PathBuf),
    /// Two files.
    Files {
        /// `certificate`: with those that vouch for it behind it.
        certificate: PathBuf,
        /// `key`.
        key: PathBuf,
    },
}
