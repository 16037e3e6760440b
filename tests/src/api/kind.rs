//! The kinds that the server has, and which of their fields can be selected by.

/// A kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    pub(super) namespaced: bool,
    /// Fields that real servers select by, beside the names.
    pub(super) fields: &'static [&'static str],
}

const fn kind(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    fields: &'static [&'static str],
) -> Kind {
    Kind { group, version, kind, plural, namespaced: true, fields }
}

/// All of them.
pub(super) static KINDS: [Kind; 13] = [
    kind(
        "",
        "v1",
        "Pod",
        "pods",
        &["spec.nodeName", "spec.serviceAccountName", "status.phase", "status.podIP"],
    ),
    Kind { namespaced: false, ..kind("", "v1", "Namespace", "namespaces", &["status.phase"]) },
    kind("", "v1", "Service", "services", &["spec.clusterIP", "spec.type"]),
    kind("", "v1", "Event", "events", &["involvedObject.name", "involvedObject.uid", "reason"]),
    kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", &[]),
    Kind { namespaced: false, ..kind("networking.k8s.io", "v1", "IPAddress", "ipaddresses", &[]) },
    kind("apps", "v1", "DaemonSet", "daemonsets", &[]),
    kind("security.istio.io", "v1", "AuthorizationPolicy", "authorizationpolicies", &[]),
    kind("security.istio.io", "v1", "PeerAuthentication", "peerauthentications", &[]),
    kind("networking.istio.io", "v1", "DestinationRule", "destinationrules", &[]),
    kind("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes", &[]),
    kind("gateway.networking.k8s.io", "v1beta1", "ReferenceGrant", "referencegrants", &[]),
    kind("", "v1", "Secret", "secrets", &["type"]),
];

/// The one with this name.
pub(super) fn named(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.kind == name)
}

/// A path, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) kind: &'static Kind,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
}

/// What a path stands for.
pub(super) fn at(path: &str) -> Option<Place> {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let (group, version) = match segments.next()? {
        "api" => ("", segments.next()?),
        "apis" => (segments.next()?, segments.next()?),
        _ => return None,
    };
    let rest: Vec<&str> = segments.collect();
    let known = |plural: &str| {
        KINDS.iter().find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
    };
    let (namespace, rest) = match rest.as_slice() {
        ["namespaces", namespace, plural, rest @ ..] if known(plural).is_some() => {
            (Some((*namespace).to_owned()), [&[*plural], rest].concat())
        }
        rest => (None, rest.to_vec()),
    };
    let kind = known(rest.first()?)?;
    let segment = |index: usize| rest.get(index).map(|&text| text.to_owned());
    Some(Place { kind, namespace, name: segment(1), subresource: segment(2) })
}
