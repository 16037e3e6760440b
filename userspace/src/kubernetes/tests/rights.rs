//! The rights that the manifests give the agent of a node are those that it uses, and no others.

use std::collections::BTreeSet;

use serde::Deserialize;
use sidestep_tests::api::Request;

use super::super::{Found, Interest, News};
use super::*;
use crate::model::{ObjectKey, PodKey};

/// Something that may be done to the objects of a kind: verb, group, resource.
type Right = (String, String, String);

#[derive(Deserialize)]
struct Role {
    kind: String,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
}

/// What the shipped manifests allow.
fn allowed() -> BTreeSet<Right> {
    let manifests = include_str!("../../../../deploy/kubernetes/node.yaml");
    let mut rights = BTreeSet::new();
    for document in manifests.split("\n---\n").filter(|document| document.contains("kind:")) {
        let role: Role =
            serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error}: {document}"));
        for rule in role.rules.iter().filter(|_| role.kind.ends_with("Role")) {
            for group in &rule.api_groups {
                for resource in &rule.resources {
                    rights.extend(
                        rule.verbs.iter().map(|verb| (verb.clone(), group.clone(), resource.clone())),
                    );
                }
            }
        }
    }
    rights
}

/// What a request asks for (the path as of "Kubernetes API Concepts").
fn asked(request: &Request) -> Right {
    let parts: Vec<&str> = request.path.split('/').filter(|part| !part.is_empty()).collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        other => panic!("{other:?}"),
    };
    let rest = match rest {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    let (resource, named) = match rest {
        [resource] => ((*resource).to_owned(), false),
        [resource, _name] => ((*resource).to_owned(), true),
        [resource, _name, part] => (format!("{resource}/{part}"), true),
        other => panic!("{other:?}"),
    };
    let verb = match request.method.as_str() {
        "GET" if named => "get",
        "GET" if request.is_watch() => "watch",
        "GET" => "list",
        "POST" => "create",
        "PATCH" => "patch",
        other => panic!("{other}"),
    };
    (verb.to_owned(), group.to_owned(), resource)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_may_do_what_it_does_and_nothing_else() {
    let api = Harness::new();
    let web = api.put(pod("web", "here", "10.0.0.1"));
    let uid = web["metadata"]["uid"].as_str().unwrap().to_owned();
    api.put(namespace("shop"));
    api.put(service("db", "10.96.0.1"));
    api.put(slice("db", &["10.0.0.9"]));
    let kinds =
        ["AuthorizationPolicy", "PeerAuthentication", "DestinationRule", "HTTPRoute", "ReferenceGrant"];
    for kind in kinds {
        let parents = json!([{ "kind": "Service", "group": "", "name": "web" }]);
        let spec = if kind == "HTTPRoute" { json!({ "parentRefs": parents }) } else { json!({}) };
        api.put(json!({ "kind": kind, "metadata": { "name": "a", "namespace": "shop" }, "spec": spec }));
    }
    let feed = feed(&api).await;
    feed.set_interest(Interest {
        namespaces: ["shop".to_owned()].into_iter().collect(),
        root_namespace: "mesh".to_owned(),
    });
    until("the namespace is settled", &mut feed.mesh(), |mesh| mesh.settled.contains("shop")).await;
    assert_eq!(feed.find("10.96.0.1".parse().unwrap()).await, Found::Known);
    assert_eq!(feed.find("fd96::1".parse().unwrap()).await, Found::Nobody);
    assert!(feed.pod(&PodKey::new("shop", "unheard-of")).await.unwrap().is_none());
    assert!(!feed.remains("sidestep-system", "sidestep").await.unwrap());
    let pod = PodKey::new("shop", "web");
    feed.tell(News::Enrolled { pod: pod.clone(), uid: uid.clone(), enrolled: true });
    feed.tell(News::Event {
        pod,
        uid,
        reason: "EnrolmentFailed".to_owned(),
        message: "no".to_owned(),
        warning: true,
    });
    for kind in kinds {
        let (key, honoured) = (ObjectKey::new(kind, "shop", "a"), Err("no".to_owned()));
        feed.tell(News::Condition { key, generation: 1, honoured, permitted: None });
    }
    let used = || api.requests().iter().map(asked).collect::<BTreeSet<Right>>();
    let allowed = allowed();
    let waiting = async {
        while used() != allowed {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let _late = tokio::time::timeout(patience(), waiting).await;
    let used = used();
    let (missing, needless) = (used.difference(&allowed), allowed.difference(&used));
    assert!(
        used == allowed,
        "not allowed: {:?}; not used: {:?}",
        missing.collect::<Vec<_>>(),
        needless.collect::<Vec<_>>()
    );
}
