//! The path of a request as the routes have it. No I/O.

use std::borrow::Cow;

/// A `%` without two hexadecimal digits behind it.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// The same path with its unreserved characters as they are (RFC 3986, section 6.2.2.2). Every other escape is left:
/// `%2F` is no slash. A path without escapes is not copied.
pub fn decoded(path: &str) -> Result<Cow<'_, str>, Malformed> {
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

/// Whether this character means the same escaped and as it is (RFC 3986, section 2.3).
pub fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// What is behind `base`, which is empty or begins with a slash and does not end in one. One slash at the end is left
/// out: clients of the earlier API write it.
pub fn below<'p>(base: &str, path: &'p str) -> Option<&'p str> {
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
    fn unreserved_characters_are_decoded_and_nothing_else() {
        for (path, expected) in [
            ("/products/%32", "/products/2"),
            ("/%70roducts/2%2fstyles", "/products/2%2fstyles"),
            ("/%2d%2E%5f%7E%41%7a", "/-._~Az"),
            ("/%2F%20%25%C3%A9%00", "/%2F%20%25%C3%A9%00"),
            ("/%2531", "/%2531"), // once
            ("/é%31", "/é1"),
        ] {
            assert_eq!(decoded(path).as_deref(), Ok(expected), "{path}");
        }
        assert!(matches!(decoded("/products"), Ok(Cow::Borrowed(_))));
        for path in ["%", "/products/%", "/%4", "/%zz", "/%+1", "/%é", "/%%31", "/%1é"] {
            assert_eq!(decoded(path), Err(Malformed), "{path}");
        }
    }

    #[test]
    fn one_slash_at_the_end_is_left_out_and_a_base_is_whole_segments() {
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
            assert_eq!(below(base, path), expected, "{path} below {base:?}");
        }
    }
}
