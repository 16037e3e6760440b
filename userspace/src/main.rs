//! The `sidestep` binary: nothing but the door to [`sidestep::agent`].

use std::process::ExitCode;

fn main() -> ExitCode {
    sidestep::agent::main()
}
