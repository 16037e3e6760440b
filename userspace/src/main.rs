//! The `sidestep` binary: nothing but the door to [`sidestep::agent`].

use std::process::ExitCode;

use sidestep::sys::allocator::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    sidestep::agent::main()
}
