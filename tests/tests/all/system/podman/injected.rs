//! A pod that knows nothing of it, put through `sidestep inject` and played for real.

use super::*;
use crate::system::manifests::{findings, python};

/// What its author has written.
const PLAIN: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: { app: web }
spec:
  terminationGracePeriodSeconds: 20
  containers:
    - name: app
      image: docker.io/library/nginx:alpine
      imagePullPolicy: IfNotPresent
";

#[test]
fn an_injected_pod_is_captured_both_ways_and_leaves_nothing() {
    needs_capture!(
        Need::Tool("podman"),
        Need::Tool("runc"),
        Need::Tool("nginx"),
        Need::Tool("curl"),
        Need::Tool("busybox"),
        Need::Tool("nsenter"),
        Need::StaticSidestep,
        Need::KubernetesSchemas
    );
    let mut client = Pod::alone();
    let podman = Podman::new();
    let at = |name: &str| podman.home.path().join(name);
    let document = blocks(&shipped("deploy/podman.md"));
    podman.run(document[0].lines()[0]);
    write(&at("plain.yaml"), PLAIN);
    let settings = format!("image: localhost/sidestep:latest\ncgroup-mount: {}\n", mount().display());
    write(&at("inject.yaml"), &settings);
    let injected = podman.run(&format!("{BINARY} inject --config inject.yaml -f plain.yaml 2>/dev/null"));
    assert_eq!(findings(&injected), Vec::<String>::new(), "{injected}");
    write(&at("played.yaml"), &python("podman.py", &[], &injected));

    podman.run("podman kube play --network none played.yaml");
    let pod_cgroup = podman.pod_cgroup().to_owned();
    connect(&mut client, &podman);
    let nginx = nginx(&client);
    let v4 = ADDRESSES[0].split('/').next().unwrap_or_default();
    let address = |port| SocketAddr::new(v4.parse().unwrap_or_else(|error| panic!("{error}")), port);
    ready(&client, address(15021), &podman);

    let app = address(80);
    assert_eq!(answer(client.app(), "curl", ["-sSf", &format!("http://{app}/")]), APP);
    let inbound = podman.logged("inbound", app);
    assert_eq!((inbound.workload.as_str(), inbound.verdict.as_str()), ("web", "proxy"));
    let page = podman.run(&format!("podman exec web-app wget -q -O - 'http://{}/'", client.v4(8080)));
    assert_eq!(page, PAGE);
    assert_eq!(podman.logged("outbound", client.v4(8080)).upstream, Some(client.v4(8080)));
    assert!(nginx.file("access.log").contains(v4), "nginx heard from the pod");

    podman.run("podman pod stop --time 20 web");
    podman.run("podman kube down played.yaml");
    assert_eq!(leftovers::pins("web"), Vec::<String>::new());
    assert!(!pod_cgroup.exists() || is_empty(&pod_cgroup), "{}", pod_cgroup.display());
}
