//! The memory of our own code.

use std::fs;
use std::io;
use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};

/// Unmaps the pages of our own code; those that run again are mapped again, out of the page cache, when they do.
///
/// Reading a configuration, loading programs and verifying certificates touch most of the code once. What is resident is
/// charged to a pod, and the kernel takes such pages back only when memory runs short.
///
/// # Errors
/// `/proc/self/maps` cannot be read, or a range in it is not ours. Nothing is lost then.
pub fn give_back() -> io::Result<()> {
    let own = fs::read_link("/proc/self/exe")?;
    let maps = fs::read_to_string("/proc/self/maps")?;
    for (start, length) in maps.lines().filter_map(|line| code_of(line, &own.to_string_lossy())) {
        let Some(start) = NonNull::new(std::ptr::without_provenance_mut(start)) else { continue };
        // SAFETY: the range is a private mapping of our own file that is executable and was never writable, so that
        // every page in it is the file's: one that is unmapped reads as before when it is touched again (madvise(2),
        // MADV_DONTNEED).
        unsafe { madvise(start, length, MmapAdvise::MADV_DONTNEED) }?;
    }
    Ok(())
}

/// Start and length of a line of `/proc/self/maps` (proc_pid_maps(5)) if it is code of the file `own`.
fn code_of(line: &str, own: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, permissions) = (words.next()?, words.next()?);
    if permissions != "r-xp" || words.nth(3)? != own {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_the_own_file_is_given_back() {
        let line = "1000-3000 r-xp 00001000 fd:00 42                         /sidestep";
        assert_eq!(code_of(line, "/sidestep"), Some((0x1000, 0x2000)));
        for other in [
            "1000-3000 r--p 00001000 fd:00 42 /sidestep",
            "1000-3000 rw-p 00001000 fd:00 42 /sidestep",
            "1000-3000 r-xp 00001000 fd:00 42 /lib/libc.so.6",
            "1000-3000 r-xp 00000000 00:00 0 [vdso]",
            "",
        ] {
            assert_eq!(code_of(other, "/sidestep"), None, "{other:?}");
        }
    }

    #[test]
    fn code_runs_on_after_it_was_given_back() {
        give_back().unwrap();
        assert_eq!("still here".len(), 10);
    }
}
