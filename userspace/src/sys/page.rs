//! The size of a page of memory.

/// Bytes of a page on this machine.
#[must_use]
pub fn size() -> usize {
    // SAFETY: the call reads a number that the C library knows, and has no other effect (sysconf(3)).
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    // It never fails for this name; 4 KiB is the smallest in use.
    usize::try_from(size).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_page_is_a_power_of_two() {
        assert!(super::size().is_power_of_two() && super::size() >= 4096);
    }
}
