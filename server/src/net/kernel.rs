//! What only the kernel knows about a socket. No crate offers these two calls for a socket that it does not own.

use std::io;
use std::os::fd::RawFd;

/// Bytes in the send queue of a socket: with TCP those that are not acknowledged, with a Unix socket those that are not read
/// (`SIOCOUTQ`, tcp(7) and unix(7)). 0 if the peer is gone, or the kernel does not say.
pub(crate) fn send_queue_bytes(socket: RawFd) -> usize {
    let bytes = siocoutq(socket);
    // The kernel also counts what a peer that is gone will never read.
    if bytes > 0 && is_gone(socket) { 0 } else { bytes }
}

#[expect(unsafe_code, reason = "no crate offers this ioctl")]
fn siocoutq(socket: RawFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one `int`. If the descriptor is that of another file by now, that file is not changed.
    let failed = unsafe { libc::ioctl(socket, libc::TIOCOUTQ, &raw mut bytes) } != 0;
    if failed { 0 } else { usize::try_from(bytes).unwrap_or(0) }
}

/// Whether nothing can be sent any more: found out by sending zero bytes.
#[expect(unsafe_code, reason = "no crate sends on a socket that it does not own")]
fn is_gone(socket: RawFd) -> bool {
    // SAFETY: the pointer is not read from, since the length is 0.
    let sent = unsafe { libc::send(socket, std::ptr::null(), 0, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    sent < 0 && io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock
}
