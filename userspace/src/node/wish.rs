//! Whether a pod is to be served: the pod's word stands above its namespace's, and that above the node's.
//!
//! The words: `sidestep.io/mode: enabled | disabled`, an annotation of a pod and a label of a namespace; and Istio's label
//! `istio.io/dataplane-mode: ambient | none` of either, which counts where ours is not there.

use std::collections::BTreeMap;

use super::note::STATUS;
use crate::model::{Network, Phase, Pod};

/// Our word.
const MODE: &str = "sidestep.io/mode";
/// Istio's.
const DATAPLANE_MODE: &str = "istio.io/dataplane-mode";

/// What becomes of pods of which nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unsaid {
    /// They are left alone.
    #[default]
    Leave,
    /// They are served.
    Serve,
}

/// What is wished for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It is to be served.
    Serve,
    /// It is not.
    Leave,
    /// It is to be served and cannot be: why, for people.
    Refuse(String),
}

/// What is wished for `pod`, whose namespace has these labels.
#[must_use]
pub fn wish(pod: &Pod, namespace: Option<&BTreeMap<String, String>>, unsaid: Unsaid) -> Wish {
    if pod.phase == Phase::Ended {
        return Wish::Leave;
    }
    // Two proxies in a row would each take the other for the app.
    if pod.annotations.get(STATUS).is_some_and(|status| status == "injected") {
        return Wish::Leave;
    }
    let said = [
        said(pod.annotations.get(MODE), MODE, ["enabled", "disabled"]),
        said(pod.labels.get(DATAPLANE_MODE), DATAPLANE_MODE, ["ambient", "none"]),
        said(namespace.and_then(|labels| labels.get(MODE)), MODE, ["enabled", "disabled"]),
        said(namespace.and_then(|labels| labels.get(DATAPLANE_MODE)), DATAPLANE_MODE, ["ambient", "none"]),
    ];
    let wished = match said.into_iter().flatten().next() {
        Some(Ok(wished)) => wished,
        Some(Err(message)) => return Wish::Refuse(message),
        None => unsaid == Unsaid::Serve,
    };
    match (wished, pod.network) {
        (false, _) => Wish::Leave,
        (true, Network::Own) => Wish::Serve,
        // What nobody asked for in so many words is no refusal.
        (true, Network::Host) if unsaid == Unsaid::Serve && !pod.annotations.contains_key(MODE) => Wish::Leave,
        (true, Network::Host) => Wish::Refuse(
            "expected a pod with a network of its own, found hostNetwork: true: its connections cannot be told from the node's; \
             set the annotation sidestep.io/mode: disabled"
                .to_owned(),
        ),
    }
}

/// What one word says.
fn said(word: Option<&String>, key: &str, [yes, no]: [&str; 2]) -> Option<Result<bool, String>> {
    match word?.as_str() {
        word if word == yes => Some(Ok(true)),
        word if word == no => Some(Ok(false)),
        // Istio knows more of them ("sidecar" among others), and none of them means us.
        _ if key == DATAPLANE_MODE => None,
        word => Some(Err(format!("expected {key}: {yes} or {no}, found {word:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PodKey;

    fn pod(annotations: &[(&str, &str)], labels: &[(&str, &str)]) -> Pod {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        Pod {
            key: PodKey::new("shop", "web"),
            uid: "u".to_owned(),
            service_account: "web".to_owned(),
            labels: map(labels),
            annotations: map(annotations),
            addresses: Vec::new(),
            network: Network::Own,
            phase: Phase::Running,
        }
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn the_pods_word_stands_above_its_namespaces_and_that_above_the_nodes() {
        let enabled: &[(&str, &str)] = &[(MODE, "enabled")];
        let disabled: &[(&str, &str)] = &[(MODE, "disabled")];
        let ambient: &[(&str, &str)] = &[(DATAPLANE_MODE, "ambient")];
        let none: &[(&str, &str)] = &[(DATAPLANE_MODE, "none")];
        for (annotations, own, namespace, unsaid, expected) in [
            (&[][..], &[][..], &[][..], Unsaid::Leave, Wish::Leave),
            (&[], &[], &[], Unsaid::Serve, Wish::Serve),
            (&[], &[], enabled, Unsaid::Leave, Wish::Serve),
            (&[], &[], ambient, Unsaid::Leave, Wish::Serve),
            (&[], &[], disabled, Unsaid::Serve, Wish::Leave),
            (disabled, &[], enabled, Unsaid::Serve, Wish::Leave),
            (enabled, &[], disabled, Unsaid::Leave, Wish::Serve),
            (&[], none, enabled, Unsaid::Leave, Wish::Leave),
            (enabled, none, &[], Unsaid::Leave, Wish::Serve),
            (&[], ambient, &[], Unsaid::Leave, Wish::Serve),
            (&[], &[(DATAPLANE_MODE, "sidecar")], &[], Unsaid::Leave, Wish::Leave),
            (&[(STATUS, "injected")], &[], enabled, Unsaid::Serve, Wish::Leave),
        ] {
            let found = wish(&pod(annotations, own), Some(&labels(namespace)), unsaid);
            assert_eq!(found, expected, "{annotations:?} {own:?} {namespace:?} {unsaid:?}");
        }
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_what_to_do() {
        let mut host = pod(&[(MODE, "enabled")], &[]);
        host.network = Network::Host;
        let Wish::Refuse(message) = wish(&host, None, Unsaid::Leave) else { panic!("it is served") };
        assert!(message.contains("hostNetwork"), "{message}");
        let unknown = pod(&[(MODE, "maybe")], &[]);
        let Wish::Refuse(message) = wish(&unknown, None, Unsaid::Serve) else { panic!("it is not refused") };
        assert!(message.contains("maybe"), "{message}");
        // Nobody asked for it: kube-proxy is no mistake of anybody's.
        host.annotations.clear();
        assert_eq!(wish(&host, None, Unsaid::Serve), Wish::Leave);
    }

    #[test]
    fn a_pod_that_has_ended_is_left() {
        let mut pod = pod(&[(MODE, "enabled")], &[]);
        pod.phase = Phase::Ended;
        assert_eq!(wish(&pod, None, Unsaid::Serve), Wish::Leave);
    }
}
