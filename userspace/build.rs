//! Hands the BPF object to the binary that embeds it, as OUT_DIR/sidestep.bpf.o.
//!
//! It does not build the object: that needs another target, another linker and the compiler's own sources, and
//! belongs to `cargo xtask build-ebpf`. SIDESTEP_BPF_OBJECT names another object to embed.
//!
//! And it has the static binary hold its relocations packed.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    pack_relocations();
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

/// A static binary that is loaded anywhere relocates itself when it starts, and a megabyte of relocations, one entry for each
/// pointer, would be resident in every sidecar from then on. Packed (DT_RELR of the ELF gABI, musl 1.2.4) it is a fiftieth.
/// Other C libraries have their own minimum versions for it, and distributions decide on those.
fn pack_relocations() {
    if env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|environment| environment == "musl") {
        for argument in ["-z", "pack-relative-relocs"] {
            println!("cargo::rustc-link-arg-bins={argument}");
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
