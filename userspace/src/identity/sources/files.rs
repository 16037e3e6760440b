//! Files that somebody else writes: the layout of cert-manager's csi-driver-spiffe.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Answer, Issued, blocking, check_expected, now};
use crate::identity::bundle::Bundle;
use crate::identity::layout::{self, CERTIFICATE, KEY, ROOTS};
use crate::identity::svid::{Svid, SvidError};
use crate::model::Identity;

/// How long a certificate and a key may differ before that is a failure: whoever writes them is between the two.
const GRACE: Duration = Duration::from_secs(2);

/// A directory with `tls.crt`, `tls.key` and `ca.crt`.
pub(in crate::identity) struct Files {
    directory: PathBuf,
    expected: Option<Identity>,
    differ_since: Option<Instant>,
}

impl Files {
    pub(super) const fn new(directory: PathBuf, expected: Option<Identity>) -> Self {
        Self { directory, expected, differ_since: None }
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        [CERTIFICATE, KEY, ROOTS].map(|name| self.directory.join(name)).to_vec()
    }

    pub(super) async fn read(&mut self) -> Result<Answer, String> {
        let (directory, expected) = (self.directory.clone(), self.expected.clone());
        let read = blocking(move || Ok(read(&directory, expected.as_ref()))).await?;
        match read {
            Err(Failed::Differ(_))
                if self.differ_since.get_or_insert_with(Instant::now).elapsed() < GRACE =>
            {
                Ok(Answer::Unfinished)
            }
            Err(Failed::Differ(message)) => Err(message),
            Err(Failed::Wrong(message)) => {
                self.differ_since = None;
                Err(message)
            }
            Ok(issued) => {
                self.differ_since = None;
                Ok(Answer::Issued(Box::new(issued)))
            }
        }
    }
}

enum Failed {
    /// Certificate and key do not belong together.
    Differ(String),
    Wrong(String),
}

impl From<String> for Failed {
    fn from(message: String) -> Self {
        Self::Wrong(message)
    }
}

fn read(directory: &Path, expected: Option<&Identity>) -> Result<Issued, Failed> {
    let chain = layout::read(&directory.join(CERTIFICATE))?;
    let key = layout::read(&directory.join(KEY))?;
    let roots = directory.join(ROOTS);
    let bundle = layout::read(&roots)?;
    let svid = Svid::of_pem(&chain, &key, now()).map_err(|error| {
        let message = format!("{} and {} in {}: {error}", CERTIFICATE, KEY, directory.display());
        if matches!(error, SvidError::Mismatch) { Failed::Differ(message) } else { Failed::Wrong(message) }
    })?;
    check_expected(expected, &svid)?;
    let bundle = Bundle::of_pem(&bundle).map_err(|error| format!("{}: {error}", roots.display()))?;
    Ok(Issued::alone(svid, Arc::new(bundle))?)
}
