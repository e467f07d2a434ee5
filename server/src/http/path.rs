//! Paths of requests, normalized for the router. No I/O.

use std::borrow::Cow;

/// A `%` that is not followed by two hexadecimal digits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Decodes the escapes of unreserved characters (RFC 3986, section 6.2.2.2) and leaves all others, since `%2F` is not a
/// slash: no crate does just that. A path without escapes is not copied.
pub(crate) fn decode_unreserved(path: &str) -> Result<Cow<'_, str>, Malformed> {
    if !path.as_bytes().contains(&b'%') {
        return Ok(Cow::Borrowed(path));
    }
    let mut pieces = path.split('%');
    let mut decoded = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (escape, rest) = piece.split_at_checked(2).ok_or(Malformed)?;
        let digits = Some(escape).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or(Malformed)?;
        if is_unreserved(byte) {
            decoded.push(char::from(byte));
        } else {
            decoded.extend(["%", escape]);
        }
        decoded.push_str(rest);
    }
    Ok(Cow::Owned(decoded))
}

/// Whether this character means the same with and without an escape (RFC 3986, section 2.3).
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Removes `base`, which is empty or begins with a slash and does not end in one. Also removes one slash at the end, which
/// clients of the earlier API send.
pub(crate) fn strip_base<'p>(base: &str, path: &'p str) -> Option<&'p str> {
    let rest = path.strip_prefix(base)?;
    if rest.is_empty() && !base.is_empty() {
        return Some("/");
    }
    let slashless = rest.strip_suffix('/').filter(|path| !path.is_empty() && !path.ends_with('/'));
    rest.starts_with('/').then(|| slashless.unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_are_decoded() {
        for (path, expected) in [
            ("/products/%32", "/products/2"),
            ("/%70roducts/2%2fstyles", "/products/2%2fstyles"),
            ("/%2d%2E%5f%7E%41%7a", "/-._~Az"),
            ("/%2F%20%25%C3%A9%00", "/%2F%20%25%C3%A9%00"),
            ("/%2531", "/%2531"), // once
            ("/é%31", "/é1"),
        ] {
            assert_eq!(decode_unreserved(path).as_deref(), Ok(expected), "{path}");
        }
        assert!(matches!(decode_unreserved("/products"), Ok(Cow::Borrowed(_))));
        for path in ["%", "/products/%", "/%4", "/%zz", "/%+1", "/%é", "/%%31", "/%1é"] {
            assert_eq!(decode_unreserved(path), Err(Malformed), "{path}");
        }
    }

    #[test]
    fn one_trailing_slash_is_removed_and_a_base_matches_whole_segments() {
        for (base, path, expected) in [
            ("", "/", Some("/")),
            ("", "/products/", Some("/products")),
            ("", "/products//", Some("/products//")),
            ("", "//", Some("//")),
            ("", "", None),
            ("", "*", None),
            ("/shop", "/shop", Some("/")),
            ("/shop", "/shop/", Some("/")),
            ("/shop", "/shop//", Some("//")),
            ("/shop", "/shop/products/1/", Some("/products/1")),
            ("/shop", "/shopping", None),
            ("/shop", "/products", None),
            ("/shop", "/", None),
        ] {
            assert_eq!(strip_base(base, path), expected, "{path} with base {base:?}");
        }
    }
}
