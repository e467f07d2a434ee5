//! Socket activation: listening sockets that systemd has opened and passes to the server (`LISTEN_FDS`, sd_listen_fds(3)).
//! systemd keeps them open during a restart, and connections wait in the backlog: a restart refuses no connection.

use std::env;

use atelier_base::error::{Cause, Error, Result};
use listenfd::ListenFd;
use socket2::SockRef;

use crate::net::listener::{BACKLOG, ListeningSocket};

const HINT: &str = "in the .socket unit, set ListenStream= for each port and FileDescriptorName=api or admin, and no Accept=";

/// They replace `--listen` and `--admin-listen`.
#[derive(Default)]
pub(crate) struct ActivatedSockets {
    pub(crate) api: Option<ListeningSocket>,
    pub(crate) admin: Option<ListeningSocket>,
}

impl ActivatedSockets {
    /// Must be called before any file is opened, since the sockets are only known by their numbers.
    ///
    /// They are told apart by their names, `api` and `admin` (`FileDescriptorName=`), or else by their order.
    pub(crate) fn take() -> Result<ActivatedSockets> {
        let unusable = |cause| Error::usage("cannot use the sockets of LISTEN_FDS").cause(cause).hint(HINT);
        let count = sd_notify::listen_fds().map_err(unusable)?.len();
        let mut sockets = ActivatedSockets::default();
        if count == 0 {
            return Ok(sockets);
        }
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').collect();
        let name = |index: usize| names.get(index).copied().unwrap_or_default();
        // Named ones first: unnamed ones get what is left.
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|index| !["api", "admin"].contains(&name(*index)));
        let mut passed = ListenFd::from_env();
        for index in order {
            let name = name(index);
            let slot = match name {
                "api" => &mut sockets.api,
                "admin" => &mut sockets.admin,
                _ if sockets.api.is_none() => &mut sockets.api,
                _ => &mut sockets.admin,
            };
            let unusable = |cause: Cause| {
                let named = if name.is_empty() { String::new() } else { format!(" ({name})") };
                Error::usage(format!("cannot use socket {}{named} of LISTEN_FDS", index + 1))
                    .cause(cause)
                    .hint(HINT)
            };
            if slot.is_some() {
                return Err(unusable("there is another one for the same port".into()));
            }
            *slot = Some(take_socket(&mut passed, index).map_err(unusable)?);
        }
        Ok(sockets)
    }
}

fn take_socket(passed: &mut ListenFd, index: usize) -> Result<ListeningSocket, Cause> {
    let socket = match (passed.take_tcp_listener(index), passed.take_unix_listener(index)) {
        (Ok(Some(listener)), _) => ListeningSocket::Tcp(listener),
        (_, Ok(Some(listener))) => ListeningSocket::Unix(listener),
        _ => return Err("it is neither a TCP nor a Unix stream socket".into()),
    };
    // Fails for a connected socket; any other one listens from now on.
    SockRef::from(&socket).listen(BACKLOG).map_err(|error| format!("it cannot listen: {error}"))?;
    Ok(socket)
}
