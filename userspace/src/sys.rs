//! The machine: system calls that no crate wraps, and files of the kernel that no crate reads. All unsafe code of the
//! agent is below here.

pub mod addresses;
pub mod allocator;
pub mod bpf;
pub mod bpffs;
pub mod cgroup;
pub mod cookie;
pub mod cores;
pub mod descriptors;
pub mod foreign;
pub mod kernel;
pub mod namespace;
pub mod own_socket;
pub mod rcu;
pub mod ready;
pub mod rights;
pub mod socket;
pub mod spawn;
pub mod text;
