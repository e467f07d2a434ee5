//! The hosts of a connection: each with its name, address and port, each as libpq's lists of them say.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use crate::conninfo::{Parameters, SOCKET_DIRECTORY};
use crate::error::Result;

/// A host to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// Its name, for TLS too, or its address if that is all there is; or the directory of a Unix socket.
    pub(super) name: String,
    /// Where to connect to, so that its name is not looked up.
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
    /// Whether `name` is one that a certificate can be verified by.
    pub(super) is_named: bool,
}

impl Host {
    /// Whether it is a Unix socket.
    pub(super) fn is_socket(&self) -> bool {
        self.address.is_none() && self.name.starts_with('/')
    }

    /// All hosts of `host`, `hostaddr` and `port`. An empty place in a list is what is meant by leaving it out.
    pub(super) fn all(parameters: &Parameters) -> Result<Vec<Host>> {
        let list =
            |name| parameters.get(name).map(|value| value.split(',').map(str::trim).collect::<Vec<_>>());
        let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
        let count = addresses.as_ref().or(names.as_ref()).map_or(1, Vec::len);
        if names.as_ref().is_some_and(|names| names.len() != count) {
            return Err(parameters.refusal("host", "names as many hosts as hostaddr has addresses, or none"));
        }
        if ports.as_ref().is_some_and(|ports| ports.len() != count && ports.len() != 1) {
            return Err(parameters.refusal("port", "is one for all hosts, or one for each"));
        }
        let host = |index| {
            let address = at(&addresses, index).map(|address| {
                address.parse().map_err(|_| parameters.refusal("hostaddr", "is not an IP address"))
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
                port: port.ok_or_else(|| parameters.refusal("port", "is not a number from 1 to 65535"))?,
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

/// What is in a place of a list, if there is something.
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
