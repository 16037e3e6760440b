//! The plugin on a node: its binary where the runtime looks for plugins, and its entry at the end of the network's chain.
//!
//! Files of others are changed in as many bytes as the entry has, and restored to the byte when it goes. Every file is written
//! beside its place and renamed into it, so that a runtime never reads half of one, and a full disk changes nothing. The
//! binary comes before the entry that names it, and goes after it.
//!
//! An agent that starts claims the plugin: binary and entry become its own. From then on it only repairs: what is missing is
//! put back, what a successor has put there stays. So two agents during an upgrade do not fight.

mod chain;
mod directory;
mod file;
mod keeping;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;

use super::PLUGIN;
use super::network::OnFailure;
use directory::{Form, Networks};

pub use keeping::{Keeping, State};

/// How long a plugin waits for the agent, if nothing else is said.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// What is to be put where.
#[derive(Clone, Debug)]
pub struct Install {
    /// Where the runtime looks for plugins, usually `/opt/cni/bin`.
    pub bin_dir: PathBuf,
    /// Where the runtime looks for networks, usually `/etc/cni/net.d`.
    pub conf_dir: PathBuf,
    /// Where the agent listens, as the runtime sees it.
    pub socket: PathBuf,
    /// What becomes of a pod when the agent cannot be asked.
    pub on_failure: OnFailure,
    /// How long the agent may take for a pod.
    pub timeout: Duration,
    /// The binary to copy; [`Install::own_program`].
    pub program: PathBuf,
}

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Installed {
    /// Binary and entry are there.
    In(PathBuf),
    /// The binary is there, and no network yet to put the entry into.
    NoNetwork,
}

/// Why they are not there.
#[derive(Debug, Error)]
pub enum InstallError {
    /// The file system refuses.
    #[error("cannot {doing} {}: {cause}", .path.display())]
    File {
        /// What was to be done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A network's single configuration cannot become a list, because a list of that name is there.
    #[error("expected no {}, found one: a list of that name is to be made of {}; remove one of both", .list.display(), .single.display())]
    Ambiguous {
        /// What is in the way.
        list: PathBuf,
        /// What the runtime uses.
        single: PathBuf,
    },
}

/// How far an agent goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Binary and entry are to be ours.
    Claim,
    /// They are to be there.
    Repair,
}

impl Install {
    /// The program that runs now, whatever has become of its file.
    #[must_use]
    pub fn own_program() -> PathBuf {
        PathBuf::from("/proc/self/exe")
    }

    /// Puts binary and entry there, in place of those of another version. Blocking.
    ///
    /// # Errors
    /// What could not be written. Everything is then as it was, or the binary is there and the entry is not.
    pub fn apply(&self) -> Result<Installed, InstallError> {
        self.put(Manner::Claim).map(|(installed, _)| installed)
    }

    /// Takes binary and entry away, and leaves the networks as they were found. Blocking.
    ///
    /// # Errors
    /// What could not be written; the rest has been done.
    pub fn remove(&self) -> Result<(), InstallError> {
        let restored = self.restore(None);
        file::remove(&self.binary())?;
        file::sweep(&self.bin_dir);
        file::sweep(&self.conf_dir);
        restored.map(drop)
    }

    /// [`Install::apply`], and from then on repairs what others have undone. Within a runtime.
    #[must_use]
    pub fn keep(self) -> Keeping {
        Keeping::start(self)
    }

    fn binary(&self) -> PathBuf {
        self.bin_dir.join(PLUGIN)
    }

    /// What our entry says.
    fn entry(&self) -> Value {
        json!({
            "type": PLUGIN,
            "agent-socket": self.socket,
            "on-failure": self.on_failure,
            "timeout": humantime::format_duration(self.timeout).to_string(),
        })
    }

    /// Puts what is not there, and says whether anything was not.
    fn put(&self, manner: Manner) -> Result<(Installed, Changed), InstallError> {
        file::sweep(&self.bin_dir);
        file::sweep(&self.conf_dir);
        let mut changed = file::put_program(&self.program, &self.binary(), manner)?;
        let Some(first) = Networks::read(&self.conf_dir)?.first() else {
            return Ok((Installed::NoNetwork, changed));
        };
        let entry = self.entry();
        let path = match first.form {
            Form::List(list) => {
                let stands = match manner {
                    Manner::Claim => list.ours().as_ref() == Some(&entry),
                    Manner::Repair => list.ours().is_some(),
                };
                if !stands {
                    file::replace(&first.path, list.with(&entry).as_bytes())?;
                    changed = Changed::Yes;
                }
                first.path
            }
            Form::Single(single) => {
                let path = first.path.with_extension("conflist");
                let hidden = directory::hidden(&first.path);
                if path.exists() && !hidden.exists() {
                    return Err(InstallError::Ambiguous { list: path, single: first.path });
                }
                // First the list, then away with what comes before it: there is a network all the time.
                file::copy_mode(&first.path, &path, single.listed(&entry).as_bytes())?;
                file::rename(&first.path, &hidden)?;
                changed = Changed::Yes;
                path
            }
        };
        // A network that comes first now has it; one that came first before is as it was.
        if self.restore(Some(&path))? == Changed::Yes {
            changed = Changed::Yes;
        }
        Ok((Installed::In(path), changed))
    }

    /// Takes the entry out of every network but one.
    fn restore(&self, but: Option<&Path>) -> Result<Changed, InstallError> {
        let mut changed = Changed::No;
        let mut outcome = Ok(());
        for network in Networks::read(&self.conf_dir)?.all() {
            let Form::List(list) = &network.form else { continue };
            if but == Some(&network.path) || list.ours().is_none() {
                continue;
            }
            let done = match directory::single_of(&network.path) {
                Some((hidden, single)) if !single.exists() => {
                    file::rename(&hidden, &single).and_then(|()| file::remove(&network.path))
                }
                // Whoever it is of has written it anew.
                Some((hidden, _)) => file::remove(&network.path).and_then(|()| file::remove(&hidden)),
                None => file::replace(&network.path, list.without().as_bytes()),
            };
            changed = Changed::Yes;
            outcome = outcome.and(done);
        }
        outcome.map(|()| changed)
    }
}

/// Whether anything had to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Changed {
    Yes,
    No,
}
