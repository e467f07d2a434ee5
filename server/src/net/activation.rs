//! Socket activation: sockets that systemd has opened and hands over (`LISTEN_FDS`, sd_listen_fds(3)). It keeps them while
//! the server is started anew, and what clients send meanwhile waits in them: a restart refuses no connection.

use std::env;

use atelier_base::error::{Error, Result};
use listenfd::ListenFd;
use socket2::SockRef;

use crate::net::listener::{BACKLOG, Socket};

/// What to do about a socket that will not do.
const HINT: &str =
    "a .socket unit takes a ListenStream= for each port, FileDescriptorName=api or admin, and no Accept=";

/// The sockets handed over, in place of `--listen` and `--admin-listen`.
#[derive(Default)]
pub struct Sockets {
    /// Of the API.
    pub api: Option<Socket>,
    /// Of the admin port.
    pub admin: Option<Socket>,
}

impl Sockets {
    /// Takes them. Before anything else is opened: they are known by their numbers alone.
    ///
    /// Which is which is said by their names, `api` and `admin` (`FileDescriptorName=`), else by their order.
    pub fn take() -> Result<Sockets> {
        let unusable = |cause| Error::usage("cannot use the sockets of LISTEN_FDS").cause(cause).hint(HINT);
        let count = sd_notify::listen_fds().map_err(unusable)?.len();
        let mut sockets = Sockets::default();
        if count == 0 {
            return Ok(sockets);
        }
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').collect();
        let name = |index: usize| names.get(index).copied().unwrap_or_default();
        // Those with names of ours first: they leave the others what they are not.
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|index| !["api", "admin"].contains(&name(*index)));
        let mut handed_over = ListenFd::from_env();
        for index in order {
            let name = name(index);
            let place = match name {
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
            if place.is_some() {
                return Err(unusable("it is a second one for the same port".into()));
            }
            *place = Some(socket(&mut handed_over, index).map_err(unusable)?);
        }
        Ok(sockets)
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn socket(handed_over: &mut ListenFd, index: usize) -> Result<Socket, Cause> {
    let socket = match (handed_over.take_tcp_listener(index), handed_over.take_unix_listener(index)) {
        (Ok(Some(listener)), _) => Socket::Tcp(listener),
        (_, Ok(Some(listener))) => Socket::Unix(listener),
        _ => return Err("it is neither a TCP nor a Unix stream socket".into()),
    };
    // Fails for one that is connected to somebody; any other one listens from then on.
    SockRef::from(&socket).listen(BACKLOG).map_err(|error| format!("it cannot listen: {error}"))?;
    Ok(socket)
}
