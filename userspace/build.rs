//! Hands the BPF object to the binary that embeds it, as OUT_DIR/sidestep.bpf.o.
//!
//! It does not build the object: that needs another target, another linker and the compiler's own sources, and
//! belongs to `cargo xtask build-ebpf`. SIDESTEP_BPF_OBJECT names another object to embed.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    match hand_over() {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            // The first form is what cargo shows to a person, the second what it keeps in the log.
            println!("cargo::error={complaint}");
            eprintln!("{complaint}");
            ExitCode::FAILURE
        }
    }
}

fn hand_over() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed=SIDESTEP_BPF_OBJECT");
    let object = match env::var_os("SIDESTEP_BPF_OBJECT") {
        Some(path) => PathBuf::from(path),
        None => directory("CARGO_MANIFEST_DIR")?.join("../target/ebpf/sidestep.bpf.o"),
    };
    // A path that does not exist makes cargo run us again each time, so a missing object is noticed once it is there.
    println!("cargo::rerun-if-changed={}", object.display());
    if !object.is_file() {
        return Err(format!(
            "the BPF object {} is missing: run `cargo xtask build-ebpf` first (or set SIDESTEP_BPF_OBJECT)",
            object.display()
        ));
    }
    let embedded = directory("OUT_DIR")?.join("sidestep.bpf.o");
    fs::copy(&object, &embedded)
        .map(drop)
        .map_err(|error| format!("cannot copy {} to {}: {error}", object.display(), embedded.display()))
}

fn directory(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable).map(PathBuf::from).ok_or_else(|| format!("cargo did not set {variable}"))
}
