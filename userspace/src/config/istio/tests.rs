//! Policies as people have them, and what is not one.

mod authorization;
mod lint;
mod peer;

use std::collections::BTreeMap;

use super::*;

/// The policies of one file, in the order of their kinds.
fn read(text: &str) -> Result<(Vec<PeerAuthentication>, Vec<AuthorizationPolicy>), String> {
    let mut policies = Policies::default();
    policies.read(Path::new("f.yaml"), text, &mut Memory::default()).map_err(|error| error.to_string())?;
    Ok((policies.peers, policies.authorizations))
}

/// What is wrong with a file for a workload of the namespace `n` without labels.
fn wrong(text: &str) -> Option<String> {
    let mut policies = Policies::default();
    let (labels, path) = (BTreeMap::new(), Path::new("f.yaml"));
    let subject = Subject {
        trust_domain: "cluster.local",
        namespace: "n",
        labels: &labels,
        root_namespace: "istio-system",
    };
    let read = policies.read(path, text, &mut Memory::default()).and_then(|()| policies.decide(subject));
    read.err().map(|error| error.to_string())
}

#[test]
fn files_without_policies_have_none() {
    for text in ["", "# none\n", "---\n---\n"] {
        assert_eq!(read(text), Ok((Vec::new(), Vec::new())), "{text:?}");
    }
}

#[test]
fn a_policy_may_have_the_name_of_one_of_another_kind() {
    let policy = |kind| {
        format!("apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{ name: a, namespace: n }}\n")
    };
    let both = format!("{}---\n{}", policy("PeerAuthentication"), policy("AuthorizationPolicy"));
    let (peers, authorizations) = read(&both).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((peers.len(), authorizations.len()), (1, 1));
    let twice = format!("{both}---\n{}", policy("AuthorizationPolicy"));
    assert_eq!(
        wrong(&twice).as_deref(),
        Some(
            "f.yaml:11:11: metadata: expected every resource once, found n/a again (the other is in f.yaml)"
        )
    );
}

#[test]
fn what_was_read_before_is_read_as_before() {
    let policy = |name: &str, namespace: &str| {
        format!(
            "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{ name: {name}, namespace: {namespace} }}\n"
        )
    };
    let mut memory = Memory::default();
    let mut read = |text: &str| {
        let mut policies = Policies::default();
        let read = policies.read(Path::new("f.yaml"), text, &mut memory);
        memory = std::mem::take(&mut memory).again();
        let names =
            policies.authorizations.iter().map(|policy| format!("{}/{}", policy.namespace, policy.name));
        read.map(|()| names.collect::<Vec<_>>()).map_err(|error| error.to_string())
    };
    let (a, b) = (policy("a", "n"), policy("b", "n"));
    assert_eq!(read(&format!("{a}{b}")), Ok(vec!["n/a".to_owned(), "n/b".to_owned()]));
    assert_eq!(read(&format!("{b}{a}")), Ok(vec!["n/b".to_owned(), "n/a".to_owned()]));
    let twice =
        "f.yaml:12:11: metadata: expected every resource once, found n/a again (the other is in f.yaml)";
    assert_eq!(read(&format!("{a}{b}{a}")), Err(twice.to_owned()));
    assert_eq!(
        read(&format!("{a}kind: Pod\n")),
        Err("f.yaml:5:1: expected every field once, found \"kind\" again".to_owned())
    );
    assert_eq!(read(&a), Ok(vec!["n/a".to_owned()]));
}
