//! The binary of the peers: programs that a test starts inside a workload. All of it is in the library.

use std::process::ExitCode;

use clap::Parser;
use sidestep_tests::peer::Peer;

fn main() -> ExitCode {
    match Peer::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sidestep-peer: {error:#}");
            ExitCode::FAILURE
        }
    }
}
