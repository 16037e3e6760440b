//! The policies, routes and rules of the namespaces that matter.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tracing::info;

use super::follow::{Following, Set, UnknownKind, follow};
use super::loose::{Kind, Loose};
use super::server::Server;
use super::{Interest, Object};
use crate::model::ObjectKey;

/// What matters for those who are served: read from their own namespaces and the root namespace.
const FOR_WORKLOADS: [Kind; 2] = [
    Kind {
        group: "security.istio.io",
        version: "v1",
        kind: "AuthorizationPolicy",
        plural: "authorizationpolicies",
    },
    Kind {
        group: "security.istio.io",
        version: "v1",
        kind: "PeerAuthentication",
        plural: "peerauthentications",
    },
];
/// What matters for what they talk to: read from the namespaces of known services too.
const FOR_DESTINATIONS: [Kind; 3] = [
    Kind { group: "networking.istio.io", version: "v1", kind: "DestinationRule", plural: "destinationrules" },
    Kind { group: "gateway.networking.k8s.io", version: "v1", kind: "HTTPRoute", plural: "httproutes" },
    REFERENCE_GRANTS,
];
/// Which routes may lead to the services of a namespace.
const REFERENCE_GRANTS: Kind = Kind {
    group: "gateway.networking.k8s.io",
    version: "v1beta1",
    kind: "ReferenceGrant",
    plural: "referencegrants",
};

/// The kind with this name.
pub(super) fn kind_named(name: &str) -> Option<Kind> {
    FOR_WORKLOADS.into_iter().chain(FOR_DESTINATIONS).find(|kind| kind.kind == name)
}

/// The resources of the namespaces that matter.
#[derive(Clone, Debug, Default)]
pub(super) struct Resources {
    /// All of them.
    pub(super) objects: BTreeMap<ObjectKey, Arc<Object>>,
    /// Of which kind and namespace all are known.
    pub(super) listed: BTreeSet<(&'static str, String)>,
    /// Whose resources count for all.
    root: String,
}

impl Resources {
    /// The namespaces of which everything is known that was written for their own workloads.
    pub(super) fn settled_for_workloads(&self) -> BTreeSet<String> {
        let whole = |namespace: &str| {
            self.settled(&FOR_WORKLOADS, namespace) && self.settled_for_destinations(namespace)
        };
        if !self.root.is_empty() && !whole(&self.root) {
            return BTreeSet::new();
        }
        let all = self.listed.iter().map(|(_, namespace)| namespace);
        all.filter(|namespace| whole(namespace)).cloned().collect()
    }

    /// Whether everything is known that was written in a namespace for those who talk to its services.
    pub(super) fn settled_for_destinations(&self, namespace: &str) -> bool {
        self.settled(&FOR_DESTINATIONS, namespace)
    }

    /// The namespaces of which it is known what they grant to routes of others.
    pub(super) fn granting(&self) -> BTreeSet<String> {
        let grants = self.listed.iter().filter(|(kind, _)| *kind == REFERENCE_GRANTS.kind);
        grants.map(|(_, namespace)| namespace.clone()).collect()
    }

    fn settled(&self, kinds: &[Kind], namespace: &str) -> bool {
        kinds.iter().all(|kind| self.listed.contains(&(kind.kind, namespace.to_owned())))
    }
}

/// Where one kind is followed.
type Here = (Kind, String);

/// Follows the resources of those namespaces that somebody is interested in, for ever.
///
/// `neighbours` are the namespaces of known services.
pub(super) async fn follow_resources(
    server: Arc<Server>,
    mut interest: watch::Receiver<Interest>,
    mut neighbours: watch::Receiver<BTreeSet<String>>,
    publish: watch::Sender<Arc<Resources>>,
) {
    let publish = Arc::new(publish);
    let mut tasks = JoinSet::new();
    let mut followed: HashMap<Here, AbortHandle> = HashMap::new();
    let unknown = Arc::new(Unknown::default());
    loop {
        let root = interest.borrow().root_namespace.clone();
        publish.send_if_modified(|resources| {
            let changed = resources.root != root;
            if changed {
                Arc::make_mut(resources).root = root;
            }
            changed
        });
        let wanted = wanted(&interest.borrow_and_update(), &neighbours.borrow_and_update());
        followed.retain(|here, task| {
            let keep = wanted.contains(here);
            if !keep {
                task.abort();
                forget(&publish, here);
            }
            keep
        });
        for here in wanted {
            followed.entry(here.clone()).or_insert_with(|| {
                let (server, publish) = (Arc::clone(&server), Arc::clone(&publish));
                tasks.spawn(follow_here(server, here, Arc::clone(&unknown), publish))
            });
        }
        tokio::select! {
            changed = interest.changed() => if changed.is_err() { return },
            changed = neighbours.changed() => if changed.is_err() { return },
            Some(_ended) = tasks.join_next() => {}
        }
    }
}

fn wanted(interest: &Interest, neighbours: &BTreeSet<String>) -> BTreeSet<Here> {
    let root = Some(&interest.root_namespace).filter(|root| !root.is_empty());
    let own: BTreeSet<&String> = interest.namespaces.iter().chain(root).collect();
    let pairs = |kinds: &'static [Kind], namespaces: &BTreeSet<&String>| -> Vec<Here> {
        let of = |namespace: &&String| {
            let namespace = (*namespace).clone();
            kinds.iter().map(move |&kind| (kind, namespace.clone()))
        };
        namespaces.iter().flat_map(of).collect()
    };
    let mut wanted: BTreeSet<Here> = pairs(&FOR_WORKLOADS, &own).into_iter().collect();
    let all = own.iter().copied().chain(neighbours).collect();
    wanted.extend(pairs(&FOR_DESTINATIONS, &all));
    wanted
}

/// Kinds that the server does not know: told once each, however many namespaces they are looked for in.
#[derive(Debug, Default)]
struct Unknown(std::sync::Mutex<BTreeSet<Kind>>);

impl Unknown {
    /// Marks a kind, and says whether that is new.
    fn mark(&self, kind: Kind, unknown: bool) -> bool {
        let mut kinds = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if unknown { kinds.insert(kind) } else { kinds.remove(&kind) }
    }
}

/// Follows one kind in one namespace, for ever. Where the kind is not known, it is looked for from time to time.
async fn follow_here(
    server: Arc<Server>,
    here: Here,
    unknown: Arc<Unknown>,
    publish: Arc<watch::Sender<Arc<Resources>>>,
) {
    let (kind, namespace) = &here;
    let what = Following::all(*kind).within(namespace);
    loop {
        let UnknownKind = follow(
            &server,
            &what,
            |object| read_object(*kind, object),
            |set| {
                if unknown.mark(*kind, false) {
                    info!(kind = kind.kind, "the API server knows this kind now");
                }
                replace(&publish, &here, set);
            },
        )
        .await;
        if unknown.mark(*kind, true) {
            let (kind, group, version) = (kind.kind, kind.group, kind.version);
            info!(kind, group, version, "the API server does not know this kind: there is none of it");
        }
        replace(&publish, &here, &Set::new());
        let pause = server.pace.unknown_kind.mul_f64(0.75 + fastrand::f64() / 2.0);
        tokio::time::sleep(pause).await;
    }
}

fn replace(publish: &watch::Sender<Arc<Resources>>, here: &Here, set: &Set<Arc<Object>>) {
    let (kind, namespace) = here;
    publish.send_modify(|resources| {
        let resources = Arc::make_mut(resources);
        resources.objects.retain(|key, _| !is_here(key, here));
        for ((_, name), object) in set {
            let (kind, namespace, name) = (kind.kind.to_owned(), namespace.clone(), name.clone());
            resources.objects.insert(ObjectKey { kind, namespace, name }, Arc::clone(object));
        }
        resources.listed.insert((kind.kind, namespace.clone()));
    });
}

fn forget(publish: &watch::Sender<Arc<Resources>>, here: &Here) {
    let (kind, namespace) = here;
    publish.send_modify(|resources| {
        let resources = Arc::make_mut(resources);
        resources.objects.retain(|key, _| !is_here(key, here));
        resources.listed.remove(&(kind.kind, namespace.clone()));
    });
}

fn is_here(key: &ObjectKey, (kind, namespace): &Here) -> bool {
    key.kind == kind.kind && key.namespace == *namespace
}

/// What is kept of an object: as it was written, without what the server keeps for itself.
fn read_object(kind: Kind, object: &Loose) -> Result<Arc<Object>, String> {
    let Some(spec) = object.rest.get("spec").filter(|spec| spec.is_object()) else {
        return Err("spec: expected a mapping, found none".to_owned());
    };
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(object.name()));
    metadata.insert("namespace".to_owned(), json!(object.namespace()));
    if let Some(created) = &object.metadata.creation_timestamp {
        metadata.insert("creationTimestamp".to_owned(), json!(created));
    }
    for (field, written) in
        [("labels", &object.metadata.labels), ("annotations", &object.metadata.annotations)]
    {
        let mut written = written.clone().unwrap_or_default();
        written.remove("kubectl.kubernetes.io/last-applied-configuration");
        if !written.is_empty() {
            metadata.insert(field.to_owned(), json!(written));
        }
    }
    let whole = json!({
        "apiVersion": format!("{}/{}", kind.group, kind.version),
        "kind": kind.kind,
        "metadata": Value::Object(metadata),
        "spec": spec,
    });
    Ok(Arc::new(Object {
        uid: object.metadata.uid.clone().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        json: whole.to_string(),
    }))
}
