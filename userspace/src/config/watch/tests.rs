//! Files that change in all the ways that files are changed.

use std::fs;
use std::os::unix::fs::symlink;

use sidestep_abi::verdict::Verdict;
use tempfile::TempDir;
use tokio::time::sleep;

use super::*;
use crate::policy::MutualTlsMode;

/// How long a change may take to be seen on a slow and busy machine.
const PATIENT: Duration = Duration::from_secs(10);

const PROXY: &str = "outbound: { default: proxy }\n";
const DIRECT: &str = "outbound: { default: direct }\n";
const BROKEN: &str = "outbound: { default: drop }\n";

fn setup() -> (TempDir, PathBuf, Watch) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("sidestep.yaml");
    fs::write(&path, PROXY).expect("a file");
    let (config, watch) = watch(&path).expect("a watch");
    assert_eq!(config.outbound.rules.default, Verdict::Proxy);
    (directory, path, watch)
}

async fn next(watch: &mut Watch) -> Result<Config, ConfigError> {
    timeout(PATIENT, watch.next()).await.expect("a change")
}

async fn next_default(watch: &mut Watch) -> Verdict {
    next(watch).await.expect("a valid configuration").outbound.rules.default
}

/// Makes a change that must be seen and is the first thing seen: whatever happened before was not told.
async fn nothing_was_told_before(path: &Path, watch: &mut Watch) {
    fs::write(path, DIRECT).expect("a file");
    assert_eq!(next_default(watch).await, Verdict::Direct);
}

#[tokio::test]
async fn a_file_written_in_place_is_seen() {
    let (_directory, path, mut watch) = setup();
    fs::write(&path, DIRECT).expect("a file");
    assert_eq!(next_default(&mut watch).await, Verdict::Direct);
    fs::write(&path, PROXY).expect("a file");
    assert_eq!(next_default(&mut watch).await, Verdict::Proxy);
}

#[tokio::test]
async fn a_file_renamed_into_place_is_seen() {
    let (directory, path, mut watch) = setup();
    let new = directory.path().join(".sidestep.yaml.swp");
    fs::write(&new, DIRECT).expect("a file");
    fs::rename(&new, &path).expect("a rename");
    assert_eq!(next_default(&mut watch).await, Verdict::Direct);
}

#[tokio::test]
async fn a_mounted_config_map_is_seen_when_its_data_link_is_swapped() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    for (version, text) in [("..1", PROXY), ("..2", DIRECT)] {
        fs::create_dir(at(version)).expect("a directory");
        fs::write(at(version).join("sidestep.yaml"), text).expect("a file");
    }
    symlink("..1", at("..data")).expect("a link");
    symlink("..data/sidestep.yaml", at("sidestep.yaml")).expect("a link");
    let (_, mut watch) = watch(&at("sidestep.yaml")).expect("a watch");

    symlink("..2", at("..data_tmp")).expect("a link");
    fs::rename(at("..data_tmp"), at("..data")).expect("a rename");
    fs::remove_dir_all(at("..1")).expect("removed");
    assert_eq!(next_default(&mut watch).await, Verdict::Direct);
}

#[tokio::test]
async fn a_change_behind_a_link_to_another_directory_is_seen() {
    let (_elsewhere, target, _) = setup();
    let directory = tempfile::tempdir().expect("a directory");
    let link = directory.path().join("link.yaml");
    symlink(&target, &link).expect("a link");
    let (_, mut watch) = watch(&link).expect("a watch");
    fs::write(&target, DIRECT).expect("a file");
    assert_eq!(next_default(&mut watch).await, Verdict::Direct);
}

#[tokio::test]
async fn a_bad_file_is_told_once_and_a_good_one_after_it() {
    let (_directory, path, mut watch) = setup();
    fs::write(&path, BROKEN).expect("a file");
    let error = next(&mut watch).await.expect_err("it is broken").to_string();
    assert!(
        error.ends_with(":1:22: outbound.default: expected one of proxy, direct, deny, found \"drop\""),
        "{error}"
    );
    fs::write(&path, BROKEN).expect("a file");
    nothing_was_told_before(&path, &mut watch).await;
}

#[tokio::test]
async fn unchanged_content_is_not_told() {
    let (directory, path, mut watch) = setup();
    fs::write(&path, PROXY).expect("a file");
    fs::write(directory.path().join("other"), "something else").expect("a file");
    // Longer than the quiet time, so that the file is really read again in between.
    sleep(QUIET * 3).await;
    nothing_was_told_before(&path, &mut watch).await;
}

#[tokio::test]
async fn a_file_that_is_gone_for_a_moment_is_not_told() {
    let (_directory, path, mut watch) = setup();
    fs::remove_file(&path).expect("removed");
    sleep(QUIET * 3).await;
    fs::write(&path, PROXY).expect("a file");
    sleep(QUIET * 3).await;
    nothing_was_told_before(&path, &mut watch).await;
}

#[tokio::test]
async fn a_file_that_stays_away_is_told_and_so_is_its_return() {
    let (_directory, path, mut watch) = setup();
    fs::remove_file(&path).expect("removed");
    let error = next(&mut watch).await.expect_err("it is gone");
    assert!(matches!(error, ConfigError::Unreadable { .. }), "{error}");
    fs::write(&path, PROXY).expect("a file");
    assert_eq!(next_default(&mut watch).await, Verdict::Proxy);
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_refused_by_name() {
    let error = watch(Path::new("/nonexistent/sidestep.yaml")).expect_err("there is none").to_string();
    assert!(error.starts_with("/nonexistent: cannot watch for changes"), "{error}");
}

const POLICY: &str = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
                      metadata: { name: default, namespace: shop }\nspec: { mtls: { mode: MODE } }\n";

fn policy(mode: &str) -> String {
    POLICY.replace("MODE", mode)
}

fn naming(policies: &Path) -> String {
    let policies = policies.display();
    format!("identity: {{ id: spiffe://td/ns/shop/sa/a, files: /a }}\npolicies: [ {policies} ]\n")
}

async fn next_mode(watch: &mut Watch) -> MutualTlsMode {
    next(watch).await.expect("a valid configuration").mutual_tls.mode(80)
}

#[tokio::test]
async fn a_file_that_the_configuration_names_is_watched_wherever_it_is() {
    let (directory, elsewhere) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let (path, policies) = (directory.path().join("sidestep.yaml"), elsewhere.path().join("policies.yaml"));
    fs::write(&policies, policy("PERMISSIVE")).expect("a file");
    fs::write(&path, naming(&policies)).expect("a file");
    let (config, mut watch) = watch(&path).expect("a watch");
    assert_eq!(config.mutual_tls.mode(80), MutualTlsMode::Permissive);
    fs::write(&policies, policy("STRICT")).expect("a file");
    assert_eq!(next_mode(&mut watch).await, MutualTlsMode::Strict);

    fs::write(&policies, policy("strict")).expect("a file");
    let error = next(&mut watch).await.expect_err("it is broken").to_string();
    assert!(error.starts_with(&format!("{}:4:23: spec.mtls.mode: ", policies.display())), "{error}");
    fs::write(&policies, policy("DISABLE")).expect("a file");
    assert_eq!(next_mode(&mut watch).await, MutualTlsMode::Disable);
}

#[tokio::test]
async fn a_file_is_watched_once_it_is_named_even_by_a_configuration_that_is_broken() {
    let (_directory, path, mut watch) = setup();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let policies = elsewhere.path().join("policies.yaml");
    fs::write(&policies, policy("none")).expect("a file");
    fs::write(&path, naming(&policies)).expect("a file");
    next(&mut watch).await.expect_err("the policy is broken");
    fs::write(&policies, policy("STRICT")).expect("a file");
    assert_eq!(next_mode(&mut watch).await, MutualTlsMode::Strict);

    // While the configuration itself is broken, its policies are still watched.
    fs::write(&path, BROKEN).expect("a file");
    next(&mut watch).await.expect_err("it is broken");
    fs::write(&policies, policy("DISABLE")).expect("a file");
    fs::write(&path, naming(&policies)).expect("a file");
    assert_eq!(next_mode(&mut watch).await, MutualTlsMode::Disable);
}

#[tokio::test]
async fn files_that_come_to_a_directory_and_go_are_seen_and_no_others() {
    let (directory, policies) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let path = directory.path().join("sidestep.yaml");
    fs::write(&path, naming(policies.path())).expect("a file");
    let (config, mut watch) = watch(&path).expect("a watch");
    assert_eq!(config.mutual_tls.mode(80), MutualTlsMode::Permissive);
    let at = |name: &str| policies.path().join(name);
    fs::write(at("strict.yml"), policy("STRICT")).expect("a file");
    assert_eq!(next_mode(&mut watch).await, MutualTlsMode::Strict);
    fs::remove_file(at("strict.yml")).expect("removed");
    assert_eq!(next_mode(&mut watch).await, MutualTlsMode::Permissive);

    // What is not called a resource is none, whatever it says.
    fs::create_dir(at("deeper.yaml")).expect("a directory");
    for name in [".hidden.yaml", "strict.yaml.bak", "strict", "deeper.yaml/strict.yaml"] {
        fs::write(at(name), policy("STRICT")).expect("a file");
    }
    fs::write(at("half.yaml"), "apiVersion: security").expect("a file");
    next(&mut watch).await.expect_err("it is written half");
    fs::write(at("half.yaml"), policy("DISABLE")).expect("a file");
    assert_eq!(next_mode(&mut watch).await, MutualTlsMode::Disable);
}

#[tokio::test]
async fn a_mounted_config_map_is_a_directory_of_policies() {
    let (directory, mounted) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let at = |name: &str| mounted.path().join(name);
    for (version, mode) in [("..1", "STRICT"), ("..2", "DISABLE")] {
        fs::create_dir(at(version)).expect("a directory");
        fs::write(at(version).join("default.yaml"), policy(mode)).expect("a file");
    }
    symlink("..1", at("..data")).expect("a link");
    symlink("..data/default.yaml", at("default.yaml")).expect("a link");
    let path = directory.path().join("sidestep.yaml");
    fs::write(&path, naming(mounted.path())).expect("a file");
    let (config, mut watch) = watch(&path).expect("a watch");
    assert_eq!(config.mutual_tls.mode(80), MutualTlsMode::Strict);
    symlink("..2", at("..data_tmp")).expect("a link");
    fs::rename(at("..data_tmp"), at("..data")).expect("a rename");
    assert_eq!(next_mode(&mut watch).await, MutualTlsMode::Disable);
}
