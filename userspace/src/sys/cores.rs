//! Which cores the calling thread may run on.

/// Whether there is more than one. Asked anew each time: a container's cores can change while it runs (cpuset(7)).
#[must_use]
pub fn are_several() -> bool {
    // SAFETY: all zero is an empty set.
    let mut cores: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set lives as long as the call and is as large as said; thread 0 is the calling one.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut cores) };
    // A machine with more cores than the set has room for is refused (EINVAL): it has several.
    // SAFETY: takes a set.
    result != 0 || unsafe { libc::CPU_COUNT(&cores) } > 1
}

#[cfg(test)]
mod tests {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;

    use super::*;

    #[test]
    fn a_thread_that_is_bound_to_one_core_has_one() {
        let bound = std::thread::spawn(|| {
            let thread = Pid::from_raw(0);
            let allowed = sched_getaffinity(thread).unwrap();
            let first = (0..CpuSet::count()).find(|&core| allowed.is_set(core).unwrap()).unwrap();
            let mut only = CpuSet::new();
            only.set(first).unwrap();
            sched_setaffinity(thread, &only).unwrap();
            are_several()
        });
        assert!(!bound.join().unwrap());
    }
}
