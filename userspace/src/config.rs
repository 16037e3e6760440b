//! Files and flags become meaning: a [`Config`] is valid by construction.
//!
//! The file is YAML. What is unknown, contradicting or out of range is an error that names the file, the line, the
//! field, what was expected and what was found; nothing is guessed and nothing ignored. Decides nothing itself:
//! which verdict a destination gets is [`crate::policy`]'s business, and what to do with a setting is its user's.

mod choice;
mod error;
mod file;
mod inbound;
mod settings;
mod value;
mod watch;
mod workload;

use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use choice::Choice;
pub use error::{ConfigError, Place};
pub use inbound::InboundPorts;
pub use settings::{
    AccessLogSettings, AdminSettings, CaptureMode, CaptureSettings, LogDestination, LogFormat,
    OutboundSettings, RelaySettings,
};
pub use watch::{Watch, watch};
pub use workload::{WorkloadName, WorkloadNameError};

/// Bytes that a configuration file may have: room for as many rules as the kernel's tables hold, several times over.
pub const FILE_LIMIT: u64 = 16 * 1024 * 1024;

/// Everything that can be configured.
///
/// The default one, which is what an absent file means, captures all outbound TCP through the instance and all
/// inbound ports, refuses nothing, and fails closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// What the workload is called in logs, metrics and pins; the host's name if it has none of its own.
    pub workload: Option<WorkloadName>,
    /// How connections get to the instance.
    pub capture: CaptureSettings,
    /// Connections that the workload makes.
    pub outbound: OutboundSettings,
    /// Inbound ports as written; [`Self::inbound_ports`] is what to capture.
    inbound: InboundPorts,
    /// How the instance treats what it carries.
    pub relay: RelaySettings,
    /// Where readiness, liveness and metrics are served; nowhere if absent.
    pub admin: Option<AdminSettings>,
    /// Where connections are logged; nowhere if absent.
    pub access_log: Option<AccessLogSettings>,
}

impl Config {
    /// The inbound ports to capture: the configured ones without the admin port, which the instance serves itself.
    #[must_use]
    pub fn inbound_ports(&self) -> InboundPorts {
        match &self.admin {
            Some(admin) => self.inbound.clone().without(admin.address.port()),
            None => self.inbound.clone(),
        }
    }

    /// Captures exactly these inbound ports (still without the admin port).
    pub fn set_inbound_ports(&mut self, ports: InboundPorts) {
        self.inbound = ports;
    }

    /// Reads a configuration from text; `file` is what error messages call it.
    ///
    /// # Errors
    ///
    /// Whatever is not a valid configuration, the first thing found.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        file::parse(file, text)
    }

    /// Names the fields in which `new` differs and which a running workload cannot take over: a change in
    /// them needs a restart.
    #[must_use]
    pub fn restart_only_changes(&self, new: &Self) -> Vec<&'static str> {
        let (old, new_capture) = (&self.capture, &new.capture);
        [
            ("workload", self.workload != new.workload),
            ("capture.mode", old.mode != new_capture.mode),
            ("capture.on-failure", old.on_failure != new_capture.on_failure),
            ("capture.cgroup-mount", old.cgroup_mount != new_capture.cgroup_mount),
            ("capture.cgroup", old.cgroup != new_capture.cgroup),
            ("admin.address", self.admin != new.admin),
        ]
        .into_iter()
        .filter_map(|(field, changed)| changed.then_some(field))
        .collect()
    }

    /// This configuration with the fields of [`Self::restart_only_changes`] as they are in `running`: what can take
    /// effect now.
    #[must_use]
    pub fn keeping(self, running: &Self) -> Self {
        Self {
            workload: running.workload.clone(),
            capture: running.capture.clone(),
            admin: running.admin.clone(),
            ..self
        }
    }
}

/// Reads a configuration file.
///
/// # Errors
///
/// The file cannot be read, is larger than [`FILE_LIMIT`], or is not valid.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let bytes = read(path)?;
    parse_bytes(path, &bytes)
}

/// Reads a file that may be no larger than [`FILE_LIMIT`].
fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let unreadable = |cause| ConfigError::Unreadable { file: path.to_owned(), cause };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    // One byte more than allowed tells a file at the limit from one above it, whatever its metadata says.
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(ConfigError::TooLarge { file: path.to_owned(), limit: FILE_LIMIT });
    }
    Ok(bytes)
}

/// A configuration from the bytes of a file.
fn parse_bytes(path: &Path, bytes: &[u8]) -> Result<Config, ConfigError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() as u64 + 1;
        ConfigError::Invalid {
            file: path.to_owned(),
            place: Some(Place { line, column: 1 }),
            field: String::new(),
            message: "expected UTF-8 text, found other bytes in this line".to_owned(),
        }
    })?;
    Config::parse(path, text)
}

#[cfg(test)]
mod tests;
