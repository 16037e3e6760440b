//! How a command asks running processes at their Unix sockets: which of them is meant, and what it answers.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::admin::local::EXTENSION;

/// How long a process may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an answer that is read as a whole.
const LARGEST: usize = 256 << 20;

/// The socket of a running process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Socket {
    /// What it is called.
    pub(super) name: String,
    path: PathBuf,
}

/// Whom a question is for.
#[derive(Clone, Debug)]
pub(super) struct Meant {
    pub(super) socket: Socket,
    /// One of the workloads of that process; all of them if absent.
    pub(super) workload: Option<String>,
}

impl Meant {
    /// Asks for something there, of that workload.
    pub(super) async fn json(&self, path: &str) -> Result<Value> {
        self.socket.json(&self.question(path)).await
    }

    /// A question of that workload.
    pub(super) fn question(&self, path: &str) -> String {
        let mark = if path.contains('?') { '&' } else { '?' };
        self.workload.as_ref().map_or_else(|| path.to_owned(), |name| format!("{path}{mark}workload={name}"))
    }
}

impl Socket {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether whoever made it is gone.
    pub(super) fn is_dead(&self) -> bool {
        let connected = std::os::unix::net::UnixStream::connect(&self.path);
        connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// Asks for something in JSON.
    pub(super) async fn json(&self, question: &str) -> Result<Value> {
        let text = self.text(Method::GET, question, "").await?;
        serde_json::from_str(&text).with_context(|| format!("read the answer at {}", self.path.display()))
    }

    /// Asks for something, or to change something, and reads the answer as a whole.
    pub(super) async fn text(&self, method: Method, question: &str, body: &str) -> Result<String> {
        let whole = async {
            let response = self.ask(method, question, body).await?;
            let status = response.status();
            let text = Limited::new(response.into_body(), LARGEST).collect().await;
            let text = text.map_err(|error| anyhow!(error)).context("read the answer")?.to_bytes();
            anyhow::Ok((status, String::from_utf8_lossy(&text).into_owned()))
        };
        let (status, text) = timeout(PATIENCE, whole)
            .await
            .map_err(|_late| anyhow!("no answer within {PATIENCE:?}"))
            .flatten()
            .with_context(|| format!("ask at {}", self.path.display()))?;
        if status != StatusCode::OK {
            bail!("{}", text.trim_end());
        }
        Ok(text)
    }

    /// Asks for something whose answer may not end.
    pub(super) async fn ask(&self, method: Method, question: &str, body: &str) -> Result<Response<Incoming>> {
        let stream = UnixStream::connect(&self.path).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the answer; what goes wrong is told by whoever reads that.
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(question).header("host", "local");
        Ok(sender.send_request(request.body(Full::new(Bytes::from(body.to_owned())))?).await?)
    }
}

/// The sockets in a directory at which somebody answers.
pub(super) fn alive(directory: &Path) -> Vec<Socket> {
    let mut found = sockets(directory);
    found.retain(|socket| !socket.is_dead());
    found
}

/// The sockets in a directory.
pub(super) fn sockets(directory: &Path) -> Vec<Socket> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<Socket> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension() == Some(OsStr::new(EXTENSION)))
        .filter_map(|path| Some(Socket { name: path.file_stem()?.to_str()?.to_owned(), path }))
        .collect();
    found.sort_unstable();
    found
}

/// Whether a socket is of a workload: it has its name, perhaps with the number of its cgroup.
pub(super) fn is_of(name: &str, workload: &str) -> bool {
    let number = name.strip_prefix(workload).map(|rest| rest.strip_prefix('-').unwrap_or(rest));
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The one process that is meant: by its socket's name, by a workload that it serves, or because there is no other.
pub(super) async fn find(directory: &Path, workload: Option<&str>) -> Result<Meant> {
    let all = alive(directory);
    let mut found: Vec<Meant> = Vec::new();
    for socket in &all {
        if workload.is_none_or(|workload| is_of(&socket.name, workload)) {
            found.push(Meant { socket: socket.clone(), workload: None });
        }
    }
    if let (true, Some(name)) = (found.is_empty(), workload) {
        for socket in all {
            let meant = Meant { socket, workload: Some(name.to_owned()) };
            if meant.json("/v1/status").await.is_ok() {
                found.push(meant);
            }
        }
    }
    match &mut found[..] {
        [_] => Ok(found.remove(0)),
        [] => bail!("expected a running instance of this user in {}, found none", directory.display()),
        several => {
            let names: Vec<&str> = several.iter().map(|meant| meant.socket.name.as_str()).collect();
            bail!("expected one running instance, found {}; name one with --workload", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn the_one_instance_that_is_meant_is_found() {
        let directory = tempfile::tempdir().expect("a directory");
        let named = async |name: &str| find(directory.path(), Some(name)).await;
        assert!(find(directory.path(), None).await.is_err());
        let listen = |name| UnixListener::bind(directory.path().join(name)).expect("it listens");
        let _alive = ["web-12.sock", "web-a-7.sock", "run-99.sock", "other"].map(listen);
        drop(listen("web-dead.sock"));
        let path = |meant: Result<Meant>| meant.expect("one").socket.path;
        assert_eq!(path(named("web").await), directory.path().join("web-12.sock"));
        assert_eq!(path(named("run-99").await), directory.path().join("run-99.sock"));
        let error = find(directory.path(), None).await.expect_err("there are three").to_string();
        assert!(error.contains("run-99, web-12, web-a-7; name one with --workload"), "{error}");
    }
}
