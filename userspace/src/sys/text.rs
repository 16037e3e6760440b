//! The memory of our own file: code, and what never changes beside it.

use std::io;
use std::ptr::NonNull;
use std::slice;

use libc::{PF_W, PT_LOAD, dl_phdr_info};
use nix::sys::mman::{MmapAdvise, madvise};
use nix::unistd::{SysconfVar, sysconf};

/// Unmaps the pages of our own code and constants; those that are used again are mapped again, out of the page cache, when
/// they are.
///
/// Reading a configuration, loading programs and verifying certificates touch most of the code once. What is resident is
/// charged to a pod, and the kernel takes such pages back only when memory runs short.
///
/// # Errors
/// The kernel refuses a range. Nothing is lost then.
pub fn give_back() -> io::Result<()> {
    let page = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|size| usize::try_from(size).ok()).unwrap_or(4096);
    for (start, length) in own_segments(page) {
        let Some(start) = NonNull::new(std::ptr::without_provenance_mut(start)) else { continue };
        // SAFETY: the range is a private mapping of our own file that was never writable, so that every page in it is the
        // file's: one that is unmapped reads as before when it is touched again (madvise(2), MADV_DONTNEED).
        unsafe { madvise(start, length, MmapAdvise::MADV_DONTNEED)? };
    }
    Ok(())
}

/// Where the segments of our own file lie that were never writable, as starts and lengths in whole pages.
///
/// The program headers say which those are (dl_iterate_phdr(3)), and /proc/self/maps does not: what relocations were written
/// to is read-only there too by now, and would lose them.
fn own_segments(page: usize) -> Vec<(usize, usize)> {
    struct Found {
        page: usize,
        segments: Option<Vec<(usize, usize)>>,
    }
    unsafe extern "C" fn look(
        info: *mut dl_phdr_info,
        _size: usize,
        found: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: the loader hands us what describes one object, whose headers stay mapped, and what we gave it.
        let (info, headers, found) = unsafe {
            let info = &*info;
            (info, slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()), &mut *found.cast::<Found>())
        };
        let constant = headers.iter().filter(|header| header.p_type == PT_LOAD && header.p_flags & PF_W == 0);
        let ranges = constant.filter_map(|header| {
            let start = usize::try_from(info.dlpi_addr.checked_add(header.p_vaddr)?).ok()?;
            whole_pages(start, usize::try_from(header.p_memsz).ok()?, found.page)
        });
        found.segments = Some(ranges.collect());
        // The program itself comes first, and libraries that others use are left alone.
        1
    }
    let mut found = Found { page, segments: None };
    // SAFETY: `look` is called before this returns, with what it expects.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut found).cast()) };
    found.segments.unwrap_or_default()
}

/// The pages that a range touches. No segment of another protection is in them: protection is by the page.
fn whole_pages(start: usize, length: usize, page: usize) -> Option<(usize, usize)> {
    let first = start - start % page;
    let end = start.checked_add(length)?.checked_next_multiple_of(page)?;
    Some((first, end - first))
}

#[cfg(test)]
mod tests {
    use super::*;

    static CONSTANT: [&str; 2] = ["still", "here"];

    #[test]
    fn a_range_is_widened_to_the_pages_it_touches() {
        assert_eq!(whole_pages(0x1010, 0x10, 0x1000), Some((0x1000, 0x1000)));
        assert_eq!(whole_pages(0x2ff0, 0x20, 0x1000), Some((0x2000, 0x2000)));
        assert_eq!(whole_pages(usize::MAX - 1, 0x20, 0x1000), None);
    }

    #[test]
    fn code_is_in_what_is_given_back_and_what_was_relocated_is_not() {
        let segments = own_segments(4096);
        let holds = |at: usize| segments.iter().any(|(start, length)| (*start..start + length).contains(&at));
        assert!(holds(give_back as *const () as usize), "{segments:x?}");
        assert!(!holds(CONSTANT.as_ptr() as usize), "{segments:x?}");
    }

    #[test]
    fn code_runs_on_and_constants_are_the_same_after_it_was_given_back() {
        give_back().unwrap();
        assert_eq!(CONSTANT.map(str::len), [5, 4]);
        assert_eq!(CONSTANT.concat(), "stillhere");
    }
}
