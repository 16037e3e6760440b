//! What `deploy/` tells the product.

use std::path::Path;

use crate::config::{CertificateSource, CniSettings, Config, NodeSettings};

/// One file of a ConfigMap in a manifest.
fn data(manifest: &str, name: &str) -> String {
    let (_, block) = manifest.split_once(&format!("  {name}: |\n")).expect("the file");
    let lines = block.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    lines.map(|line| format!("{}\n", line.get(4..).unwrap_or_default())).collect()
}

#[test]
fn the_node_of_the_readme_has_a_valid_file() {
    let readme = include_str!("../../../../README.md");
    let (_, block) = readme.split_once("```yaml node\n").expect("the block");
    let (text, _) = block.split_once("```").expect("its end");
    let config = Config::parse(Path::new("node.yaml"), text).unwrap_or_else(|error| panic!("{error}"));
    let node = config.node.expect("a node");
    // What is written is the default, unless it is called an example.
    let mut defaults = NodeSettings { cni: Some(CniSettings::default()), ..NodeSettings::default() };
    defaults.daemon_set.clone_from(&node.daemon_set);
    assert_eq!(node, defaults);
}

#[test]
fn the_agents_of_the_plain_manifests_are_told_what_they_understand() {
    let manifest = include_str!("../../../../deploy/kubernetes/node.yaml");
    let config = Config::parse(Path::new("node.yaml"), &data(manifest, "sidestep.yaml"));
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    let node = config.node.expect("a node");
    assert_eq!(node.daemon_set, Some(("sidestep-system".to_owned(), "sidestep".to_owned())));
    let cni = node.cni.expect("the plugin");
    for directory in [&cni.bin_dir, &cni.conf_dir] {
        assert!(manifest.contains(&format!("mountPath: {}\n", directory.display())), "{directory:?}");
    }
    let identity = config.identity.expect("certificates");
    let CertificateSource::SigningCa { directory, .. } = identity.source else { panic!("an authority") };
    assert!(manifest.contains(&format!("mountPath: {}\n", directory.display())), "{directory:?}");
    let mount = config.capture.cgroup_mount.expect("the node's hierarchy");
    assert!(manifest.contains(&format!("mountPath: {}\n", mount.display())), "{mount:?}");
}
