//! Waiting for programs that are running right now.

use std::time::Duration;

const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;

/// Longest that a program of ours can possibly run: a bound for kernels that offer no grace period to wait for.
const LONGEST_RUN: Duration = Duration::from_millis(50);

/// Returns when every BPF program that ran at the time of the call has ended.
///
/// `MEMBARRIER_CMD_GLOBAL` waits for an RCU grace period (kernel/sched/membarrier.c), which no running program survives.
/// Kernels with `nohz_full` refuse it; then a time passes that no program of ours can take.
pub fn wait_for_running_programs() {
    // SAFETY: takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    // On one processor the kernel answers without waiting, though a preempted program may not have ended.
    let alone = std::thread::available_parallelism().is_ok_and(|processors| processors.get() == 1);
    if result != 0 || alone {
        std::thread::sleep(LONGEST_RUN);
    }
}
