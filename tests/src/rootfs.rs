//! Images made of this machine's own files, since tests pull nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::need::find;

/// Small programs that images have from busybox.
const APPLETS: [&str; 6] = ["sh", "wget", "httpd", "sleep", "cat", "ls"];

/// Fills `root` with busybox and a web page that its `httpd` finds in /www.
///
/// # Panics
/// When a program is missing or a file cannot be copied.
pub fn busybox(root: &Path, page: &str) {
    for directory in ["bin", "www", "tmp"] {
        make(&root.join(directory));
    }
    install("busybox", root, "bin/busybox");
    link_applets(root);
    write(&root.join("www/index.html"), page);
}

/// Fills `root` with nginx, its libraries, its configuration and a busybox.
///
/// # Panics
/// When a program is missing or a file cannot be copied.
pub fn nginx(root: &Path, page: &str) {
    for directory in ["bin", "etc/nginx", "run", "tmp", "var/log/nginx", "var/lib/nginx", "usr/sbin"] {
        make(&root.join(directory));
    }
    for (name, inside) in [("busybox", "bin/busybox"), ("nginx", "usr/sbin/nginx")] {
        install(name, root, inside);
    }
    link_applets(root);
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

/// Copies a program, with its libraries where they are here.
fn install(name: &str, root: &Path, inside: &str) {
    let program = program(name);
    copy(&program, &root.join(inside));
    for library in libraries(&program) {
        let inside = root.join(library.strip_prefix("/").unwrap_or(&library));
        make(inside.parent().unwrap_or(root));
        copy(&library, &inside);
    }
}

fn link_applets(root: &Path) {
    for applet in APPLETS {
        let link = root.join("bin").join(applet);
        symlink("busybox", &link).unwrap_or_else(|error| panic!("link {}: {error}", link.display()));
    }
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

/// Writes a file.
///
/// # Panics
/// When it cannot be written.
pub fn write(file: &Path, text: &str) {
    fs::write(file, text).unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
}

/// Copies a file, following links.
///
/// # Panics
/// When it cannot be copied.
pub fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap_or_else(|error| panic!("copy {} to {}: {error}", from.display(), to.display()));
}
