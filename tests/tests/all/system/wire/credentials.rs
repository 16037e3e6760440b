//! Foreign clients whose certificates are not good: each is answered with an alert, told, and counted.

use sidestep_tests::mesh::{Forgery, TRUST_DOMAIN, identity};
use sidestep_tests::{Mesh, Need, needs_capture};

use super::asked::{Scene, Shaken};

#[test]
fn nobody_is_let_in_without_a_good_certificate() {
    needs_capture!(Need::ForeignHttp2);
    let scene = Scene::new();
    let sidecar = scene.sidecar();
    let elsewhere = Mesh::new();
    let uri = |text: &str| vec![text.to_owned()];
    let forgeries = [
        ("no certificate", None),
        ("an authority that nobody knows", Some(elsewhere.issue("foreign"))),
        ("expired", Some(scene.mesh.forge(Forgery { days: (-2, -1), ..Forgery::default() }))),
        ("not yet valid", Some(scene.mesh.forge(Forgery { days: (1, 2), ..Forgery::default() }))),
        (
            "another trust domain",
            Some(scene.mesh.forge(Forgery {
                uris: uri("spiffe://evil.example/ns/shop/sa/foreign"),
                ..Forgery::default()
            })),
        ),
        (
            "two names",
            Some(
                scene.mesh.forge(Forgery {
                    uris: vec![identity("foreign"), identity("admin")],
                    ..Forgery::default()
                }),
            ),
        ),
        ("no name", Some(scene.mesh.forge(Forgery { uris: Vec::new(), ..Forgery::default() }))),
        (
            "a percent trick",
            Some(scene.mesh.forge(Forgery {
                uris: uri(&format!("spiffe://{TRUST_DOMAIN}/ns/shop/sa/for%65ign")),
                ..Forgery::default()
            })),
        ),
        (
            "upper case",
            Some(scene.mesh.forge(Forgery {
                uris: uri("SPIFFE://cluster.local/ns/shop/sa/foreign"),
                ..Forgery::default()
            })),
        ),
        (
            "one segment more",
            Some(scene.mesh.forge(Forgery {
                uris: uri(&format!("{}/extra", identity("foreign"))),
                ..Forgery::default()
            })),
        ),
        ("for servers only", Some(scene.mesh.forge(Forgery { for_clients: false, ..Forgery::default() }))),
        ("an authority itself", Some(scene.mesh.forge(Forgery { is_authority: true, ..Forgery::default() }))),
        (
            "signed by itself",
            Some(scene.mesh.forge(Forgery { signed_by_itself: true, ..Forgery::default() })),
        ),
    ];
    let count = forgeries.len();
    for (what, credentials) in &forgeries {
        let shaken: Shaken = scene.ask_with(credentials.as_ref(), "", "handshake", "");
        assert!(!shaken.was_let_in(), "{what}: {shaken:?}");
    }
    let refused =
        sidecar.metric("sidestep_tunnels_total", &[("direction", "inbound"), ("outcome", "failed")]);
    assert_eq!(refused, count as f64);
    let told = sidecar
        .log
        .lines()
        .into_iter()
        .filter(|line| line.verdict == "deny" && line.tier == "tunnel")
        .count();
    assert!(told > 0, "no refusal is told");
    let good: Shaken = scene.ask("", "handshake", "");
    assert!(good.was_let_in(), "{good:?}");
}

#[test]
fn a_listed_certificate_is_refused_and_its_tunnels_are_cut() {
    needs_capture!(Need::ForeignHttp2);
    let scene = Scene::new();
    let list = scene.mesh.revoke(&[]);
    let mut config = scene.config();
    config = config.merged("identity", serde_json::json!({ "revocation-lists": [list] }));
    let sidecar = sidestep_tests::Sidestep::sidecar(&scene.server, &config);
    let client = scene.start("silence", &scene.target());
    assert_eq!(client.tells("ready")["ready"], "200");
    scene.mesh.revoke(&[&scene.credentials]);
    // Cut long before a ping would have missed its answer.
    let after = client.tells("after")["after"].as_f64().unwrap_or(f64::MAX);
    assert!(after < 15.0, "cut after {after} s");
    let again: Shaken = scene.ask("", "handshake", "");
    assert!(!again.was_let_in(), "{again:?}");
    drop(sidecar);
}
