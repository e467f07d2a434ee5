//! What only the kernel knows of a socket.

use std::os::fd::RawFd;

/// Bytes written to a socket that the other side has not taken: with TCP, not acknowledged; with a Unix socket, not read.
/// `SIOCOUTQ`, tcp(7) and unix(7). None where the kernel does not say.
#[expect(unsafe_code, reason = "no crate of ours asks for this")]
pub(crate) fn untaken(socket: RawFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one `int`. Were the number that of another file by now, nothing of that file changes.
    let failed = unsafe { libc::ioctl(socket, libc::TIOCOUTQ, &raw mut bytes) } != 0;
    if failed { 0 } else { usize::try_from(bytes).unwrap_or(0) }
}
