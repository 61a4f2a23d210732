//! The two system calls that no safe crate has: `adjtimex(2)` and the ioctl of ethtool.
//!
//! Invariant: the kernel is handed only memory that is larger than what it writes.

#![expect(
    unsafe_code,
    reason = "two system calls without a safe wrapper; see docs/decisions/0178"
)]

use std::ffi::c_char;
use std::io::{Error, Result};
use std::os::fd::{AsFd, AsRawFd};

/// What the kernel's clock says of itself, and its state.
pub(crate) fn adjtimex() -> Result<(i32, libc::timex)> {
    // SAFETY: `timex` is made of integers only, for which zero is a value.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one `timex` into the one that is lent to it. No mode is set, so
    // nothing is changed.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return Err(Error::last_os_error());
    }
    Ok((state, timex))
}

/// A command of ethtool on a device. The command stands in the first bytes of `buffer`; what the
/// kernel answers stands there afterwards.
///
/// The kernel does not know how large the buffer is: it must have room for the largest answer.
/// [`ETHTOOL_BYTES_MIN`] is enough for every answer of a fixed size, and who asks for names or
/// numbers of statistics has asked for their count before.
pub(crate) fn ethtool(socket: impl AsFd, device: &str, buffer: &mut [u8]) -> Result<()> {
    assert!(
        buffer.len() >= ETHTOOL_BYTES_MIN,
        "the buffer has room for every answer of a fixed size"
    );
    // SAFETY: `ifreq` is made of integers and pointers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    let places = request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1);
    for (place, byte) in places.zip(device.bytes()) {
        *place = c_char::from_ne_bytes([byte]);
    }
    request.ifr_ifru.ifru_data = buffer.as_mut_ptr().cast();
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: `request` lives through the call, and so does the buffer that it points to, which
    // has room for the answer as said above.
    let result = unsafe { libc::ioctl(fd, libc::SIOCETHTOOL, &raw mut request) };
    if result < 0 {
        return Err(Error::last_os_error());
    }
    Ok(())
}

/// Bytes that every answer of a fixed size fits into; the largest used has 196.
pub(crate) const ETHTOOL_BYTES_MIN: usize = 1 << 10;
