//! What only the kernel knows of a socket.

use std::io;
use std::os::fd::RawFd;

/// Bytes written to a socket that the other side has not taken: with TCP, not acknowledged; with a Unix socket, not read.
/// `SIOCOUTQ`, tcp(7) and unix(7). None where there is no other side any more, or the kernel does not say.
pub(crate) fn untaken(socket: RawFd) -> usize {
    let bytes = waiting(socket);
    // It goes on counting what a client that has gone will never take.
    if bytes > 0 && is_gone(socket) { 0 } else { bytes }
}

#[expect(unsafe_code, reason = "no crate of ours asks for this")]
fn waiting(socket: RawFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one `int`. Were the number that of another file by now, nothing of that file changes.
    let failed = unsafe { libc::ioctl(socket, libc::TIOCOUTQ, &raw mut bytes) } != 0;
    if failed { 0 } else { usize::try_from(bytes).unwrap_or(0) }
}

/// Whether nothing can be sent any more, which shows when nothing is sent.
#[expect(unsafe_code, reason = "no crate of ours asks a socket that it does not own")]
fn is_gone(socket: RawFd) -> bool {
    // SAFETY: no byte is read from where the pointer points.
    let sent = unsafe { libc::send(socket, std::ptr::null(), 0, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    sent < 0 && io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock
}
