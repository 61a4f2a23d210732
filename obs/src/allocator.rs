//! How the C library's allocator treats memory that was freed.
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
