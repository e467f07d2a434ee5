//! The header `Host`: how often it may be given, and its syntax. No I/O.

use std::net::Ipv6Addr;

use http::{HeaderValue, Request, Version, header};

use crate::http::problem::Problem;

/// RFC 9112, section 3.2: a request without `Host`, with two of them, or with an invalid one, is refused. HTTP/2 has
/// `:authority` instead (RFC 9113, section 8.3.1), and an absolute target also names a host.
pub(crate) fn check<B>(request: &Request<B>) -> Result<(), Problem> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let is_missing = host.is_none()
        && match request.version() {
            Version::HTTP_2 => authority.is_none(),
            version => version == Version::HTTP_11,
        };
    if is_missing || another.is_some() {
        return Err(Problem::bad_request("a request must have exactly one header Host"));
    }
    let both = host.map(HeaderValue::as_bytes).zip(authority);
    if request.version() == Version::HTTP_2
        && both.is_some_and(|(host, authority)| !host.eq_ignore_ascii_case(authority))
    {
        return Err(Problem::bad_request("Host and :authority must name the same host"));
    }
    let mut named = host.map(HeaderValue::as_bytes).into_iter().chain(authority);
    if !named.all(is_valid) {
        return Err(Problem::bad_request(
            "the header Host must be a host, or a host and a port: shop.example:3000",
        ));
    }
    Ok(())
}

/// Whether this is `uri-host [":" port]` (RFC 9110, section 7.2). The host may be empty: by RFC 9112, section 3.2, a client
/// sends that if its URI has no host.
fn is_valid(value: &[u8]) -> bool {
    let (is_host, port) = match value.strip_prefix(b"[") {
        Some(rest) => {
            let end = rest.iter().position(|byte| *byte == b']').unwrap_or(rest.len());
            (is_ip_literal(&rest[..end]), rest.get(end + 1..))
        }
        None => {
            let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
            (is_name(&value[..end]), Some(&value[end..]))
        }
    };
    is_host && port.is_some_and(|port| port.is_empty() || is_port(port))
}

fn is_port(colon_and_digits: &[u8]) -> bool {
    colon_and_digits.strip_prefix(b":").is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
}

/// `reg-name`, and `IPv4address`, which is one too (RFC 3986, section 3.2.2).
fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let Some(at) = rest.iter().position(|byte| !IS_NAME_BYTE[usize::from(*byte)]) {
        let Some((b"%", [first, second, behind @ ..])) = rest[at..].split_at_checked(1) else { return false };
        if !(first.is_ascii_hexdigit() && second.is_ascii_hexdigit()) {
            return false;
        }
        rest = behind;
    }
    true
}

/// `IPv6address` or `IPvFuture`, without their brackets.
fn is_ip_literal(address: &[u8]) -> bool {
    if let Some(future) = address.strip_prefix(b"v").or_else(|| address.strip_prefix(b"V")) {
        let mut parts = future.splitn(2, |byte| *byte == b'.');
        let version = parts.next().unwrap_or_default();
        let rest = parts.next().unwrap_or_default();
        let is_address_byte = |byte: &u8| IS_NAME_BYTE[usize::from(*byte)] || *byte == b':';
        return !version.is_empty()
            && version.iter().all(u8::is_ascii_hexdigit)
            && !rest.is_empty()
            && rest.iter().all(is_address_byte);
    }
    std::str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// `unreserved` and `sub-delims`. A table, since every byte of every request's host is looked up.
static IS_NAME_BYTE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~!$&'()*+,;=";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        for host in [
            "",
            ":",
            ":3000",
            "test",
            "shop.example",
            "shop.example:3000",
            "shop.example:",
            "my_shop~1.example",
            "127.0.0.1:80",
            "[::1]",
            "[::ffff:127.0.0.1]:3000",
            "[v1.fe80::a+en1]",
            "caf%C3%A9.example",
            "a,b;c=d!$&'()*+",
        ] {
            assert!(is_valid(host.as_bytes()), "{host}");
        }
        for host in [
            " ",
            "shop example",
            "shop.example/",
            "shop.example:80:80",
            "shop.example:http",
            "user@shop.example",
            "http://shop.example",
            "<script>",
            "\"",
            "a\\b",
            "a|b",
            "a^b",
            "{a}",
            "a?b",
            "a#b",
            "%",
            "%4",
            "%zz",
            "a%4gb",
            "::1",
            "[::1",
            "[::1]3000",
            "[::1]:x",
            "[]",
            "[127.0.0.1]",
            "[fe80::1%25eth0]",
            "[v.a]",
            "[v1.]",
            "[v1]",
            "]",
            "café.example",
            "a\tb",
        ] {
            assert!(!is_valid(host.as_bytes()), "{host}");
        }
        assert!(!is_valid(b"\xff"));
    }
}
