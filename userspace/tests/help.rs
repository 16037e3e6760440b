//! What `--help` prints, kept as files so that changes are read as a diff.
//!
//! `SIDESTEP_BLESS=1 cargo test -p sidestep --test help` rewrites them.

use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory};
use sidestep::cli::Cli;

/// Compares a text with the file that holds what it should be, or makes it so.
fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("SIDESTEP_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, text).expect("the golden file can be written");
        return;
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == text,
        "{} differs; look at it and rerun with SIDESTEP_BLESS=1:\n{text}",
        path.display()
    );
}

/// The help of a command, the same whatever terminal this runs in.
fn help(command: &mut Command) -> String {
    let help = command.clone().term_width(100).render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

#[test]
fn help_reads_as_it_was_last_read() {
    let mut cli = Cli::command();
    cli.build();
    check("help.txt", &help(&mut cli));
    for command in cli.get_subcommands_mut() {
        let name = format!("help-{}.txt", command.get_name());
        check(&name, &help(command));
    }
}
