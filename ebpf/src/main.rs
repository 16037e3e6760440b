//! The kernel side of Sidestep. One loaded object serves one workload: its maps are that workload's own, so
//! that no key of one workload can ever meet a key of another.
//!
//! # Layout
//! One file per hook, each a `try_…` that says what happens and an entry that counts it:
//! - [`connect`]: `cgroup/connect4`, `connect6`: the verdict on an outbound connection
//! - [`datagram`]: `cgroup/sendmsg4`, `sendmsg6`: the verdict on a datagram of an unconnected socket
//! - [`socket`]: `cgroup/sock_create`: no socket of a protocol that rules cannot hold, where what they do not name is denied
//! - [`handoff`]: `sock_ops`: stages and claims the handoff
//! - [`peername`]: `cgroup/getpeername4`, `getpeername6`: shows the address the app expects
//! - [`inbound`]: `sk_lookup`: the verdict on an inbound connection
//! - [`original_dst`]: `cgroup/getsockopt`: `SO_ORIGINAL_DST` for proxies that are not ours
//!
//! and under them [`outbound`] (the verdict by destination, and how it is told), [`steer`] (pointing a socket at the instance), [`workload`] (its settings, rules, addresses and
//! listeners), [`note`] (the handoff on a socket), [`count`] (counters and events), [`maps`] (every map), [`sock_addr`]
//! (the fields of a context) and [`kernel`] (numbers of its interfaces).

#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "aya's macros hand every hook its context by value")]

mod connect;
mod count;
mod datagram;
mod handoff;
mod inbound;
mod kernel;
mod maps;
mod note;
mod original_dst;
mod outbound;
mod peername;
mod sock_addr;
mod socket;
mod steer;
mod workload;

/// The helpers that the kernel reserves for GPL-compatible programs ask for this word; the object is
/// Apache-2.0 OR GPL-2.0-only, and the kernel knows no word for that pair.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

/// Never reached: the verifier refuses a program that could panic. The compiler wants one all the same.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
