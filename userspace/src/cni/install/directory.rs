//! The networks of a node: which there are, and which one a runtime takes.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::chain::{List, Single};
use super::{InstallError, file};

/// What a name ends with whose file runtimes are not to see.
const HIDDEN: &str = ".sidestep";

/// The networks of a directory, in the order of their names.
#[derive(Debug)]
pub(super) struct Networks {
    networks: Vec<Network>,
}

#[derive(Debug)]
pub(super) struct Network {
    /// Its file, and no symbolic link to it: that would not survive a rename.
    pub(super) path: PathBuf,
    pub(super) form: Form,
}

#[derive(Debug)]
pub(super) enum Form {
    List(List),
    Single(Single),
}

impl Networks {
    /// Reads those that a runtime would take (libcni's `ConfFiles` and `LoadConfList`).
    pub(super) fn read(directory: &Path) -> Result<Self, InstallError> {
        let failed = file::failed("list", directory);
        let mut paths = Vec::new();
        for entry in fs::read_dir(directory).map_err(&failed)? {
            paths.push(entry.map_err(&failed)?.path());
        }
        paths.sort();
        let mut networks = Vec::new();
        for path in paths {
            let list = match path.extension().and_then(OsStr::to_str) {
                Some("conflist") => true,
                Some("conf" | "json") => false,
                _ => continue,
            };
            let text = match fs::read_to_string(&path) {
                Ok(text) => text,
                // It went, or cannot be read by a runtime either.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::NotFound | ErrorKind::InvalidData | ErrorKind::IsADirectory
                    ) =>
                {
                    continue;
                }
                Err(error) => return Err(file::failed("read", &path)(error)),
            };
            let form = if list {
                List::parse(&text).map(Form::List)
            } else {
                Single::parse(&text).map(Form::Single)
            };
            let path = fs::canonicalize(&path).unwrap_or(path);
            match form {
                Some(form) => networks.push(Network { path, form }),
                None => tracing::debug!(file = %path.display(), "no network that a runtime would take"),
            }
        }
        Ok(Self { networks })
    }

    /// The one that a runtime takes for its pods; what a list was made of, if whoever it is of has written that anew.
    pub(super) fn first(mut self) -> Option<Network> {
        let made_of = self.networks.first().and_then(|first| single_of(&first.path));
        let anew =
            made_of.and_then(|(_, single)| self.networks.iter().position(|network| network.path == single));
        self.networks.drain(anew.unwrap_or(0)..).next()
    }

    pub(super) fn all(&self) -> &[Network] {
        &self.networks
    }
}

/// Where a single configuration is while its list is in its place.
pub(super) fn hidden(single: &Path) -> PathBuf {
    let mut name = OsString::from(single);
    name.push(HIDDEN);
    PathBuf::from(name)
}

/// What a list was made of: where that is hidden, and where it belongs.
pub(super) fn single_of(list: &Path) -> Option<(PathBuf, PathBuf)> {
    let singles = ["conf", "json"].map(|extension| list.with_extension(extension));
    singles.into_iter().map(|single| (hidden(&single), single)).find(|(hidden, _)| hidden.exists())
}
