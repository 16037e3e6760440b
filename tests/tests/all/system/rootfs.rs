//! Images made of this machine's own files, since tests pull nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use sidestep_tests::need::find;

use super::server::write;

/// Small programs that the image of the app has from busybox.
const APPLETS: [&str; 4] = ["sh", "wget", "cat", "ls"];

/// Fills `root` with nginx, its libraries, its configuration and a busybox.
///
/// # Panics
/// When a program is missing or a file cannot be copied.
pub(super) fn nginx(root: &Path, page: &str) {
    for directory in ["bin", "etc/nginx", "run", "tmp", "var/log/nginx", "var/lib/nginx", "usr/sbin"] {
        make(&root.join(directory));
    }
    for (name, inside) in [("busybox", "bin/busybox"), ("nginx", "usr/sbin/nginx")] {
        let program = program(name);
        copy(&program, &root.join(inside));
        for library in libraries(&program) {
            let inside = root.join(library.strip_prefix("/").unwrap_or(&library));
            make(inside.parent().unwrap_or(root));
            copy(&library, &inside);
        }
    }
    for applet in APPLETS {
        let link = root.join("bin").join(applet);
        symlink("busybox", &link).unwrap_or_else(|error| panic!("link {}: {error}", link.display()));
    }
    write(&root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n");
    write(&root.join("etc/group"), "root:x:0:\n");
    write(
        &root.join("etc/nginx/nginx.conf"),
        &format!(
            "user root; worker_processes 1; pid /run/nginx.pid; error_log stderr;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n\
               access_log /dev/stdout combined;\n\
               server {{ listen 80; listen [::]:80; location / {{ return 200 '{page}'; }} }}\n\
             }}\n"
        ),
    );
}

/// The shared libraries of a program, with the loader, as ldd(1) names them; none for a static one.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output();
    let output = output.unwrap_or_else(|error| panic!("run ldd {}: {error}", program.display()));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let absolute = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    absolute.map(PathBuf::from).collect()
}

fn program(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("the program {name} has gone from PATH"))
}

fn make(directory: &Path) {
    fs::create_dir_all(directory).unwrap_or_else(|error| panic!("make {}: {error}", directory.display()));
}

/// Copies a file, following links.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap_or_else(|error| panic!("copy {} to {}: {error}", from.display(), to.display()));
}
