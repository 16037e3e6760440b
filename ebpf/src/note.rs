//! The handoff note in a socket's storage: reading, writing and erasing it, for whatever kind of socket pointer a hook has.

use core::ffi::c_void;
use core::ptr::{from_mut, from_ref, null_mut};

use aya_ebpf::helpers::generated::{bpf_sk_storage_delete, bpf_sk_storage_get};
use sidestep_abi::handoff::{Handoff, Role};

use crate::maps::HANDOFFS;

const BPF_SK_STORAGE_GET_F_CREATE: u64 = 1;

/// The note on a socket.
///
/// # Safety
/// `socket` must be a non-null socket that the hook was given by the kernel.
#[inline(always)]
pub(crate) unsafe fn read(socket: *mut c_void) -> Option<Handoff> {
    // SAFETY: promised by the caller; without the create flag nothing is written.
    let note = unsafe { bpf_sk_storage_get(map(), socket, null_mut(), 0).cast::<Handoff>() };
    // SAFETY: not null, and the socket's own.
    (!note.is_null()).then(|| unsafe { *note })
}

/// Writes the note of a socket; `false` if there is no memory for it.
///
/// # Safety
/// As for [`read`].
#[inline(always)]
pub(crate) unsafe fn write(socket: *mut c_void, mut note: Handoff) -> bool {
    // SAFETY: promised by the caller; the note lives as long as the call.
    let stored = unsafe {
        bpf_sk_storage_get(map(), socket, from_mut(&mut note).cast(), BPF_SK_STORAGE_GET_F_CREATE)
            .cast::<Handoff>()
    };
    if stored.is_null() {
        return false;
    }
    // An existing value is not replaced by the call above: the socket may be connecting a second time.
    // SAFETY: not null, and the socket's own.
    unsafe { *stored = note };
    true
}

/// Erases the original destination noted on a socket, if there is one. A client noted by an instance stays: during a
/// take-over the predecessor's sockets are judged like the workload's.
///
/// # Safety
/// As for [`read`].
#[inline(always)]
pub(crate) unsafe fn erase(socket: *mut c_void) {
    // SAFETY: promised by the caller.
    if unsafe { read(socket) }.is_none_or(|note| note.role != Role::OriginalDestination as u8) {
        return;
    }
    // SAFETY: promised by the caller. The only error is that there is no note.
    unsafe { bpf_sk_storage_delete(map(), socket) };
}

/// The map as the helpers take it.
#[inline(always)]
fn map() -> *mut c_void {
    from_ref(&HANDOFFS).cast_mut().cast()
}
