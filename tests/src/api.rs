//! A small Kubernetes API server in memory: list, watch, bookmarks, resource versions, selectors, merge patches, status
//! subresources and events, over TLS with a bearer token, and every way of failing that its clients have to bear.
//!
//! It holds what a test puts into it and says what it was asked. Nothing is validated but what clients must not get wrong:
//! selectors of fields that real servers do not know, and resource versions that they would not know any more.

mod answer;
mod kind;
mod selector;
mod serve;
mod store;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::hosts::Hosts;
use crate::sidestep::{directory, replace};
use crate::{Namespace, eventually};

pub use answer::Request;
pub use store::Fault;

use answer::Desk;
use serve::Server;

/// The server, for as long as the value lives.
#[derive(Debug)]
pub struct Api {
    desk: Arc<Desk>,
    server: Server,
    address: SocketAddr,
    namespace: Option<PathBuf>,
    directory: TempDir,
    _hosts: Hosts,
    runtime: Option<Runtime>,
}

impl Api {
    /// One on loopback, with nothing in it.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn new() -> Self {
        Self::start(None, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// One that listens inside a namespace.
    ///
    /// # Panics
    /// When it cannot listen there.
    #[must_use]
    pub fn inside(namespace: &Namespace, address: SocketAddr) -> Self {
        Self::within(&namespace.path(), address)
    }

    /// One that listens inside the namespace that a file stands for, whoever made it.
    ///
    /// # Panics
    /// When it cannot listen there.
    #[must_use]
    pub fn within(namespace: &Path, address: SocketAddr) -> Self {
        Self::start(Some(namespace.to_owned()), address)
    }

    fn start(namespace: Option<PathBuf>, address: SocketAddr) -> Self {
        let hosts = Hosts::new();
        let home = hosts.issue(&[&address.ip().to_string(), "localhost"]);
        let token = format!("token-{}-{}", std::process::id(), crate::namespace::serial());
        let desk = Arc::new(Desk::new(&token));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("api-server")
            .enable_all()
            .build()
            .unwrap_or_else(|error| panic!("start a runtime: {error}"));
        let server = Server::new(home.path(), Arc::clone(&desk), runtime.handle().clone());
        let listener = listen(namespace.as_deref(), address)
            .unwrap_or_else(|error| panic!("listen at {address}: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("read an address: {error}"));
        let directory = directory();
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": {
                "server": format!("https://{address}"),
                "certificate-authority": hosts.bundle(),
            }}],
            "users": [{ "name": "test", "user": { "token": token } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
            "current-context": "test",
        });
        replace(&directory.path().join("kubeconfig"), &format!("{kubeconfig:#}\n"));
        let api = Self { desk, server, address, namespace, directory, _hosts: hosts, runtime: Some(runtime) };
        api.server.up(listener);
        api
    }

    /// The file that says where it is and how to ask it.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// Puts an object in, or in place of the one with its name, and hands back what it became.
    ///
    /// # Panics
    /// When it has no kind or name that is known here.
    pub fn put(&self, object: Value) -> Value {
        self.desk.store(|store| store.put(object)).unwrap_or_else(|why| panic!("put an object: {why}"))
    }

    /// Puts an object in as a kubelet does: of one that is there only the status becomes another, whatever others have noted at it
    /// stays.
    ///
    /// # Panics
    /// When it has no kind or name that is known here.
    pub fn put_status(&self, object: Value) -> Value {
        self.desk.store(|store| store.put_status(object)).unwrap_or_else(|why| panic!("put a status: {why}"))
    }

    /// Takes an object out. Says whether it was there.
    ///
    /// # Panics
    /// When the kind is not known here.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) -> bool {
        let kind = kind::named(kind).unwrap_or_else(|| panic!("no such kind: {kind}"));
        self.desk.store(|store| store.delete(kind, namespace, name)).is_some()
    }

    /// An object as it is now.
    ///
    /// # Panics
    /// When the kind is not known here.
    #[must_use]
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let kind = kind::named(kind).unwrap_or_else(|| panic!("no such kind: {kind}"));
        self.desk.store(|store| store.get(kind, namespace, name).cloned())
    }

    /// All objects of a kind.
    ///
    /// # Panics
    /// When the kind is not known here.
    #[must_use]
    pub fn all(&self, kind: &str) -> Vec<Value> {
        let kind = kind::named(kind).unwrap_or_else(|| panic!("no such kind: {kind}"));
        self.desk.store(|store| store.all(kind).cloned().collect())
    }

    /// What it was asked so far, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.desk.requests()
    }

    /// The requests whose path contains a text, once there are at least so many.
    ///
    /// # Panics
    /// When there are not within the patience.
    pub fn asked(&self, path: &str, count: usize) -> Vec<Request> {
        eventually(&format!("{count} requests for {path}"), || {
            let found: Vec<Request> =
                self.requests().into_iter().filter(|request| request.target().contains(path)).collect();
            if found.len() >= count { Ok(found) } else { Err(found) }
        })
    }

    /// Refuses connections, and cuts those that are there.
    pub fn down(&self) {
        self.server.down();
    }

    /// Listens again, at the same address.
    ///
    /// # Panics
    /// When it cannot.
    pub fn up(&self) {
        let listener = eventually("the address is free again", || {
            listen(self.namespace.as_deref(), self.address).map_err(|error| error.to_string())
        });
        self.server.up(listener);
    }

    /// Cuts all connections; new ones are welcome.
    pub fn disconnect(&self) {
        self.server.disconnect();
    }

    /// Forgets its history: whoever asks for what was after an older version is told `410 Gone`.
    pub fn compact(&self) {
        self.desk.store(store::Store::compact);
    }

    /// Fails from now on in this way, or not any more.
    pub fn fail(&self, fault: Option<Fault>) {
        self.desk.fail(fault);
    }

    /// Waits so long before each answer.
    pub fn slow(&self, pause: Duration) {
        self.desk.slow(pause);
    }

    /// Does not know a kind, as if its definition was not installed, or knows it again.
    ///
    /// # Panics
    /// When the kind is not known here.
    pub fn install(&self, kind: &str, installed: bool) {
        let kind = kind::named(kind).unwrap_or_else(|| panic!("no such kind: {kind}"));
        self.desk.store(|store| store.install(kind, installed));
    }
}

impl Default for Api {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.server.down();
        // Not waited for: a test may be part of a runtime itself.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Listens at an address of this namespace, or of another.
fn listen(namespace: Option<&Path>, address: SocketAddr) -> io::Result<TcpListener> {
    let bind = || {
        let listener =
            socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        // Connections that were cut linger for a while.
        listener.set_reuse_address(true)?;
        listener.bind(&address.into())?;
        listener.listen(1024)?;
        listener.set_nonblocking(true)?;
        Ok(TcpListener::from(listener))
    };
    let Some(namespace) = namespace else { return bind() };
    std::thread::scope(|scope| {
        let there = scope.spawn(|| crate::namespace::enter(namespace).and_then(|()| bind()));
        there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
