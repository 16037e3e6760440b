//! `sock_ops`: carries the handoff from the connecting socket to the accepting one.
//!
//! `TCP_CONNECT_CB` runs when the source port is known and before the SYN leaves: the note of the connecting socket is
//! staged. `PASSIVE_ESTABLISHED_CB` runs on the accepted socket before anybody can accept it: the note is claimed. What
//! nobody claimed is withdrawn when the connecting socket closes, so that the stage is empty when nothing is under way.

use core::ffi::c_void;
use core::ptr::addr_of;

use aya_ebpf::bindings::{
    BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
    BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE,
};
use aya_ebpf::helpers::generated::bpf_get_netns_cookie;
use aya_ebpf::macros::sock_ops;
use aya_ebpf::programs::SockOpsContext;
use sidestep_abi::address::Address;
use sidestep_abi::handoff::{Role, StageKey};
use sidestep_abi::verdict::{Direction, Reason, Tally, Verdict};

use crate::kernel::{of_family, read_words};
use crate::maps::{STAGE, STAGES, Stage};
use crate::{count, note};

/// Stages, claims and withdraws the handoffs of one workload.
#[sock_ops]
pub(crate) fn sidestep_handoff(ctx: SockOpsContext) -> u32 {
    follow(&ctx, |_| Some(&STAGE))
}

/// Does the same for the sockets of an agent that serves many workloads, each in its own namespace and on its own stage: none
/// can take another's room.
#[sock_ops]
pub(crate) fn sidestep_node_handoff(ctx: SockOpsContext) -> u32 {
    follow(&ctx, |ctx| {
        // SAFETY: a stage is freed a grace period after it was taken off the map.
        unsafe { STAGES.get(&netns_cookie(ctx)) }
    })
}

/// Does what the moment asks for, on the stage that belongs to the socket.
#[inline(always)]
fn follow<'a>(ctx: &SockOpsContext, on: impl Fn(&SockOpsContext) -> Option<&'a Stage>) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => stage(ctx, on),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => claim(ctx, on),
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == BPF_TCP_CLOSE => withdraw(ctx, on),
        _ => {}
    }
    1
}

/// The connecting socket's note goes to the stage.
#[inline(always)]
fn stage<'a>(ctx: &SockOpsContext, on: impl Fn(&SockOpsContext) -> Option<&'a Stage>) {
    // SAFETY: a socket of the hook's.
    let Some(handoff) = socket(ctx).and_then(|socket| unsafe { note::read(socket) }) else { return };
    let staged = on(ctx).is_some_and(|stage| stage.insert(StageKey::connecting(ctx), handoff, 0).is_ok());
    if !staged {
        // Without its note an outbound connection is refused by the instance. An inbound one goes on: the app takes the
        // instance for its client.
        let (direction, verdict) = if handoff.role == Role::Client as u8 {
            (Direction::Inbound, Verdict::Proxy)
        } else {
            (Direction::Outbound, Verdict::Deny)
        };
        count::verdict(direction, verdict, Reason::StageFull);
        return;
    }
    let _unchanged = ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32);
}

/// The staged note goes to the accepted socket.
#[inline(always)]
fn claim<'a>(ctx: &SockOpsContext, on: impl Fn(&SockOpsContext) -> Option<&'a Stage>) {
    let Some(stage) = on(ctx) else { return };
    let key = StageKey::accepted(ctx);
    let Some(staged) = stage.get_ptr(key) else { return };
    // SAFETY: nobody changes a staged note; the entry is freed after a grace period.
    let handoff = unsafe { *staged };
    let _gone = stage.remove(key);
    // SAFETY: a socket of the hook's.
    if socket(ctx).is_some_and(|socket| unsafe { note::write(socket, handoff) }) {
        count::tally(Tally::Captures);
    } else {
        count::verdict(Direction::Outbound, Verdict::Deny, Reason::StorageFull);
    }
}

/// The connecting socket closed: its note, if it is still on the stage, belongs to nobody.
#[inline(always)]
fn withdraw<'a>(ctx: &SockOpsContext, on: impl Fn(&SockOpsContext) -> Option<&'a Stage>) {
    if on(ctx).is_some_and(|stage| stage.remove(StageKey::connecting(ctx)).is_ok()) {
        count::tally(Tally::Withdrawn);
    }
}

/// The socket that this program runs for, unless it is not a full one.
#[inline(always)]
fn socket(ctx: &SockOpsContext) -> Option<*mut c_void> {
    // SAFETY: the kernel hands a valid context.
    let sk = unsafe { addr_of!((*ctx.ops).__bindgen_anon_2.sk).read_volatile() };
    (!sk.is_null()).then_some(sk.cast())
}

/// The key of a connection, from either of its sockets.
trait Connection {
    fn connecting(ctx: &SockOpsContext) -> Self;
    fn accepted(ctx: &SockOpsContext) -> Self;
}

impl Connection for StageKey {
    #[inline(always)]
    fn connecting(ctx: &SockOpsContext) -> Self {
        key(ctx, local(ctx), remote(ctx))
    }

    #[inline(always)]
    fn accepted(ctx: &SockOpsContext) -> Self {
        key(ctx, remote(ctx), local(ctx))
    }
}

/// The cookie of the socket's network namespace.
#[inline(always)]
fn netns_cookie(ctx: &SockOpsContext) -> u64 {
    // SAFETY: takes the context, returns a number.
    unsafe { bpf_get_netns_cookie(ctx.ops.cast::<c_void>()) }
}

#[inline(always)]
fn key(ctx: &SockOpsContext, source: (Address, u16), destination: (Address, u16)) -> StageKey {
    StageKey {
        netns_cookie: netns_cookie(ctx),
        source: source.0,
        destination: destination.0,
        source_port: source.1,
        destination_port: destination.1,
        padding: 0,
    }
}

/// Local address (IPv4 in mapped form, whatever the socket's family) and port.
#[inline(always)]
fn local(ctx: &SockOpsContext) -> (Address, u16) {
    // SAFETY: the kernel hands a valid context.
    let (ip4, ip6) = unsafe {
        (addr_of!((*ctx.ops).local_ip4).read_volatile(), read_words(addr_of!((*ctx.ops).local_ip6)))
    };
    (of_family(ctx.family(), ip4, ip6), ctx.local_port() as u16)
}

/// Remote address and port; the kernel keeps the remote port in network byte order, the local one in host order.
#[inline(always)]
fn remote(ctx: &SockOpsContext) -> (Address, u16) {
    // SAFETY: the kernel hands a valid context.
    let (ip4, ip6) = unsafe {
        (addr_of!((*ctx.ops).remote_ip4).read_volatile(), read_words(addr_of!((*ctx.ops).remote_ip6)))
    };
    (of_family(ctx.family(), ip4, ip6), u32::from_be(ctx.remote_port()) as u16)
}
