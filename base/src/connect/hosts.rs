//! The hosts of a connection, from libpq's lists of names, addresses and ports.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use crate::conninfo::{Parameters, SOCKET_DIRECTORY};
use crate::error::Result;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// Also for TLS. The address if there is no name; the directory of a Unix socket.
    pub(super) name: String,
    /// If given, the name is not looked up.
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
    /// Whether a certificate can be verified by `name`.
    pub(super) is_named: bool,
}

impl Host {
    pub(super) fn is_socket(&self) -> bool {
        self.address.is_none() && self.name.starts_with('/')
    }

    /// All hosts of `host`, `hostaddr` and `port`. An empty item in a list is the default.
    pub(super) fn all(parameters: &Parameters) -> Result<Vec<Host>> {
        let list =
            |name| parameters.get(name).map(|value| value.split(',').map(str::trim).collect::<Vec<_>>());
        let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
        let count = addresses.as_ref().or(names.as_ref()).map_or(1, Vec::len);
        if names.as_ref().is_some_and(|names| names.len() != count) {
            return Err(parameters.refusal("host", "must have as many hosts as hostaddr, or none"));
        }
        if ports.as_ref().is_some_and(|ports| ports.len() != count && ports.len() != 1) {
            return Err(parameters.refusal("port", "must be one port for all hosts, or one for each"));
        }
        let host = |index| {
            let address = at(&addresses, index).map(|address| {
                address.parse().map_err(|_| parameters.refusal("hostaddr", "must be an IP address"))
            });
            let address: Option<IpAddr> = address.transpose()?;
            let name = at(&names, index);
            if name.is_some_and(|name| name.starts_with('@')) {
                return Err(
                    parameters.refusal("host", "names an abstract Unix socket, which is not supported")
                );
            }
            let port = ports.as_ref().map_or(0, |ports| if ports.len() == 1 { 0 } else { index });
            let port =
                at(&ports, port).map_or(Some(5432), |port| port.parse().ok().filter(|&port| port != 0));
            Ok(Host {
                port: port.ok_or_else(|| parameters.refusal("port", "must be a number from 1 to 65535"))?,
                is_named: name.is_some(),
                name: match (name, address) {
                    (Some(name), _) => name.to_owned(),
                    (None, Some(address)) => address.to_string(),
                    (None, None) => SOCKET_DIRECTORY.to_owned(),
                },
                address,
            })
        };
        (0..count).map(host).collect()
    }
}

/// An item of a list, unless it is empty.
fn at<'a>(list: &Option<Vec<&'a str>>, index: usize) -> Option<&'a str> {
    list.as_ref()?.get(index).copied().filter(|value| !value.is_empty())
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_socket() {
            true => write!(f, "{}/.s.PGSQL.{}", Path::new(&self.name).display(), self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}
