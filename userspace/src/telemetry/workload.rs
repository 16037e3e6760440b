//! The workload that is told of, as metrics, lines and spans name it.

use crate::model::Identity;

/// What the workload is called, and who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Its name.
    pub name: String,
    /// Who it proves to be, if it has a certificate.
    pub identity: Option<Identity>,
}

impl Own {
    /// One that has a name and nothing else.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), identity: None }
    }

    /// Its namespace, if it is known.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.identity.as_ref().map(Identity::namespace)
    }
}
