//! What holds for one pod of a node: the sections of the node's file, and what Kubernetes says of the pod.

use std::sync::Arc;

use super::{Cluster, Config, IdentitySettings, ROOT_NAMESPACE};
use crate::model::{Directory, Identity, IdentityError, Pod};
use crate::policy::Subject;

impl Config {
    /// The configuration of a pod, in the file of its node.
    ///
    /// # Errors
    /// Its namespace or service account cannot be part of an identity.
    pub fn of_pod(
        &self,
        pod: &Pod,
        cluster: &Cluster,
        directory: &Arc<Directory>,
    ) -> Result<Self, IdentityError> {
        let node = self.node.clone().unwrap_or_default();
        let namespace = &pod.key.namespace;
        let id = Identity::new(&node.trust_domain, namespace, &pod.service_account)?;
        let root_namespace = self.root_namespace();
        let subject = Subject {
            trust_domain: node.trust_domain.as_str(),
            namespace,
            labels: &pod.labels,
            root_namespace,
        };
        let (mutual_tls, authorization) = cluster.policies(subject);
        Ok(Self {
            identity: self
                .identity
                .clone()
                .map(|settings| IdentitySettings { id: Some(id.clone()), ..settings }),
            namespace: Some(namespace.clone()),
            directory: Arc::clone(directory),
            mutual_tls,
            authorization: Arc::new(authorization),
            resources: cluster.resources().clone(),
            node: None,
            admin: None,
            access_log: None,
            ..self.clone()
        })
    }

    /// The namespace whose resources are for the whole mesh.
    #[must_use]
    pub fn root_namespace(&self) -> &str {
        self.root_namespace.as_deref().unwrap_or(ROOT_NAMESPACE)
    }
}
