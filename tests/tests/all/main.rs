//! The one integration test binary. `kernel::…` needs root and a kernel, `system::…` real servers as well.

mod ask;
mod kernel;
mod pods;
mod system;
