//! The workload that is told of, as metrics, lines and spans name it.

use crate::model::Identity;

/// What the workload is called, and who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Its name among those that its process serves: `namespace/pod` where these are several.
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

    /// Its name among those of its namespace.
    #[must_use]
    pub fn pod(&self) -> &str {
        self.name.split_once('/').map_or(&*self.name, |(_, pod)| pod)
    }

    /// Its namespace, if it is known.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        let named = self.name.split_once('/').map(|(namespace, _)| namespace);
        self.identity.as_ref().map(Identity::namespace).or(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_of_several_is_told_apart_by_its_namespace() {
        let own = Own::named("shop/web-1");
        assert_eq!((own.pod(), own.namespace()), ("web-1", Some("shop")));
        let own = Own::named("web-1");
        assert_eq!((own.pod(), own.namespace()), ("web-1", None));
    }
}
