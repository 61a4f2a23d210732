//! Memory that goes back to the system: what was freed, and pages of the program that nothing uses.
//!
//! Flushes, merges and large requests take megabytes for a moment. Left alone, glibc raises the
//! size from which it asks the system for a piece of its own each time such a piece is freed, and
//! from then on keeps what is freed; a server that takes in logs held half as much memory again.
//! See decision 0132.

/// From so many bytes on, an allocation is a mapping of its own that ends when it is freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_BYTES_MIN: i32 = 256 << 10;
/// So much free memory may stay at the end of the heap.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES: i32 = 1 << 20;

/// Keeps these sizes as they are. Called before there is a second thread.
pub(crate) fn settle() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "a setting of the C library")]
    // SAFETY: both calls only set numbers of the allocator, under its own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
    }
}

/// Where the machine code of this program lies, which is only read and can be read again from its file.
pub(crate) struct Code(Vec<(usize, usize)>);

impl Code {
    /// Found in `/proc/self/maps`; without that file (another system) nothing is found.
    pub(crate) fn own() -> Self {
        let program = std::env::current_exe().unwrap_or_default();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        Self(code_in(&maps, &program.to_string_lossy()))
    }

    /// Pages of code leave the process; those that are still in use come back from the page cache
    /// when they are next run. A start runs through some 30 MB of code of which a tenth is used
    /// afterwards.
    pub(crate) fn forget(&self) -> std::io::Result<()> {
        #[cfg(target_os = "linux")]
        for &(start, bytes) in &self.0 {
            #[expect(unsafe_code, reason = "advice to the kernel")]
            // SAFETY: the range is a mapping of this program's file that was never written, is not
            // unmapped while the program runs, and whose pages the kernel reads again by itself.
            let answer = unsafe {
                libc::madvise(
                    std::ptr::without_provenance_mut(start),
                    bytes,
                    libc::MADV_DONTNEED,
                )
            };
            if answer != 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

/// Start and length of each mapping of `program` that may be run and never was writable.
fn code_in(maps: &str, program: &str) -> Vec<(usize, usize)> {
    let range = |line: &str| {
        let (head, path) = line.split_once('/')?;
        let mut fields = head.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        let (start, end) = (address(start)?, address(end)?);
        let is_code = fields.next()? == "r-xp" && path == program.strip_prefix('/')?;
        is_code.then(|| Some((start, end.checked_sub(start)?)))?
    };
    maps.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_the_program_is_forgotten() {
        let maps = "\
5580-5590 r--p 00000000 fe:00 10 /bin/an obs
5590-55f0 r-xp 00010000 fe:00 10 /bin/an obs
55f0-5600 r--p 00070000 fe:00 10 /bin/an obs
5600-5610 rw-p 00080000 fe:00 10 /bin/an obs
7f00-7f10 r-xp 00000000 fe:00 11 /lib/libc.so.6
7fff-8000 r-xp 00000000 00:00 0 [vdso]
zz-8000 r-xp 00000000 00:00 0 /bin/an obs
";
        assert_eq!(code_in(maps, "/bin/an obs"), [(0x5590, 0x60)]);
    }

    #[test]
    fn what_was_forgotten_still_runs() {
        let code = Code::own();
        assert!(!code.0.is_empty(), "the code of this test is mapped");
        for _ in 0..10 {
            code.forget().unwrap();
        }
        assert_eq!(code_in("", "x"), []);
    }
}
