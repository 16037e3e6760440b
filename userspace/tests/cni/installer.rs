//! The installer where files cannot be written, and where others write them too.

use std::path::Path;
use std::thread;

use nix::mount::{MsFlags, mount};
use sidestep::cni::install::{State, TIMEOUT};
use sidestep::cni::{Install, Installed, OnFailure};

use super::*;

const LIST: &str = r#"{"cniVersion":"0.4.0","name":"pods","plugins":[{"type":"ptp"}]}"#;

fn install(home: &Path) -> Install {
    for directory in ["bin", "net.d"] {
        fs::create_dir_all(home.join(directory)).expect("made");
    }
    Install {
        bin_dir: home.join("bin"),
        conf_dir: home.join("net.d"),
        socket: home.join("run/agent.sock"),
        on_failure: OnFailure::Closed,
        timeout: TIMEOUT,
        program: PathBuf::from(env!("CARGO_BIN_EXE_sidestep")),
    }
}

/// Every file below a directory, with its size.
fn files(directory: &Path) -> Vec<(String, u64)> {
    let mut files: Vec<(String, u64)> = fs::read_dir(directory)
        .expect("listed")
        .map(|entry| {
            let entry = entry.expect("listed");
            (entry.file_name().to_string_lossy().into_owned(), entry.metadata().expect("metadata").len())
        })
        .collect();
    files.sort();
    files
}

/// Runs `test` where nobody else sees what it mounts.
fn in_mounts_of_its_own(test: impl FnOnce(&Path) + Send + 'static) {
    if !can_run(None) {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().to_owned();
    let tested = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private");
        test(&path);
    });
    if let Err(panic) = tested.join() {
        std::panic::resume_unwind(panic);
    }
}

fn tmpfs(at: &Path, flags: MsFlags, options: &str) {
    fs::create_dir_all(at).expect("made");
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options)).expect("mounted");
}

#[test]
fn a_full_disk_changes_nothing_and_is_told() {
    in_mounts_of_its_own(|home| {
        tmpfs(&home.join("bin"), MsFlags::empty(), "size=64k");
        let install = install(home);
        fs::write(install.conf_dir.join("10-pods.conflist"), LIST).expect("written");
        let error = install.apply().expect_err("full").to_string();
        assert!(error.contains("sidestep-cni") && error.contains("No space left"), "{error}");
        assert_eq!(files(&install.bin_dir), []);
        assert_eq!(fs::read_to_string(install.conf_dir.join("10-pods.conflist")).expect("there"), LIST);
    });
    in_mounts_of_its_own(|home| {
        tmpfs(&home.join("net.d"), MsFlags::empty(), "size=16k");
        let install = install(home);
        fs::write(install.conf_dir.join("10-pods.conflist"), LIST).expect("written");
        fs::write(install.conf_dir.join("filler"), vec![0; 12 << 10]).expect("fills it");
        let before = files(&install.conf_dir);
        let error = install.apply().expect_err("full").to_string();
        assert!(error.contains("10-pods.conflist") && error.contains("No space left"), "{error}");
        assert_eq!(files(&install.conf_dir), before);
        fs::remove_file(install.conf_dir.join("filler")).expect("removed");
        assert!(matches!(install.apply().expect("room"), Installed::In(_)));
    });
}

#[test]
fn a_file_system_that_cannot_be_written_is_told_of() {
    in_mounts_of_its_own(|home| {
        tmpfs(&home.join("net.d"), MsFlags::empty(), "size=64k");
        let install = install(home);
        fs::write(install.conf_dir.join("10-pods.conflist"), LIST).expect("written");
        let none: Option<&str> = None;
        mount(none, &install.conf_dir, none, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none)
            .expect("remounted");
        let error = install.apply().expect_err("read-only").to_string();
        assert!(error.contains("Read-only file system"), "{error}");
        assert_eq!(fs::read_to_string(install.conf_dir.join("10-pods.conflist")).expect("there"), LIST);
    });
}

/// Whether the plugin comes to be in a file again.
fn comes_back(path: &Path) {
    eventually("the entry comes back", || {
        fs::read_to_string(path).is_ok_and(|text| text.contains("sidestep-cni"))
    });
}

#[test]
fn what_others_rewrite_is_repaired() {
    let home = tempfile::tempdir().expect("a directory");
    let install = install(home.path());
    let list = install.conf_dir.join("10-pods.conflist");
    let binary = install.bin_dir.join("sidestep-cni");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let within = runtime.enter();
    let keeping = install.clone().keep();
    let mut state = keeping.state();
    let mut reaches = |wanted: fn(&State) -> bool| {
        let reached = tokio::time::timeout(PATIENCE, state.wait_for(wanted));
        runtime.block_on(async { reached.await.map(drop).is_ok() })
    };
    assert!(reaches(|state| *state == State::NoNetwork), "ready without a network");
    fs::write(&list, LIST).expect("written");
    assert!(reaches(State::is_ready));
    comes_back(&list);
    fs::write(&list, LIST).expect("written");
    comes_back(&list);
    fs::remove_file(&binary).expect("removed");
    eventually("the binary comes back", || binary.exists());
    fs::remove_file(&list).expect("removed");
    assert!(reaches(|state| *state == State::NoNetwork));
    fs::write(&list, LIST).expect("written");
    assert!(reaches(State::is_ready));
    drop((keeping, within));
    install.remove().expect("removed");
    assert_eq!(fs::read_to_string(&list).expect("there"), LIST);
    assert_eq!(files(&install.bin_dir), []);
}

#[test]
fn two_agents_leave_each_other_alone() {
    let home = tempfile::tempdir().expect("a directory");
    let old = install(home.path());
    let new = Install { socket: home.path().join("new.sock"), ..old.clone() };
    let list = old.conf_dir.join("10-pods.conflist");
    fs::write(&list, LIST).expect("written");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _within = runtime.enter();
    let _first = old.keep();
    comes_back(&list);
    let second = new.keep();
    let is_new = || fs::read_to_string(&list).is_ok_and(|text| text.contains("new.sock"));
    eventually("the successor's entry is there", is_new);
    let written = fs::metadata(&list).expect("there").ino();
    // Long enough for whoever looked at it to have answered.
    let mut state = second.state();
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, state.wait_for(State::is_ready)).await })
        .expect("in")
        .expect("kept");
    thread::sleep(Duration::from_millis(500));
    assert!(is_new());
    assert_eq!(fs::metadata(&list).expect("there").ino(), written, "nobody wrote it again");
}
