//! Addresses to listen on.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Linux has room for one more byte, which is the NUL at the end.
const MAX_PATH_BYTES: usize = 107;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    /// The absolute path of a Unix socket.
    Unix(PathBuf),
}

/// As in nginx and gunicorn: `127.0.0.1:3000`, `[::1]:3000` or `unix:/run/atelier-server/api.sock`.
impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        match text.strip_prefix("unix:") {
            None => text.parse().map(Address::Tcp).map_err(|error| {
                format!("{error}: write 127.0.0.1:3000, [::1]:3000 or unix:/run/atelier-server/api.sock")
            }),
            Some(path) if !path.starts_with('/') => {
                Err("the path of a Unix socket must be absolute: write unix:/run/atelier-server/api.sock"
                    .to_owned())
            }
            Some(path) if path.len() > MAX_PATH_BYTES => Err(format!(
                "the path of a Unix socket has at most {MAX_PATH_BYTES} bytes, and this one has {}",
                path.len()
            )),
            Some(path) => Ok(Address::Unix(path.into())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_and_displayed() {
        let longest = format!("unix:/{}", "x".repeat(MAX_PATH_BYTES - 1));
        for text in ["127.0.0.1:3000", "[::1]:0", "unix:/run/api.sock", &longest] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let too_long = format!("{longest}x");
        for text in
            ["", "3000", "localhost:3000", "/run/api.sock", "unix:api.sock", "unix:", "unix:@api", &too_long]
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
