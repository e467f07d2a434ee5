//! Which load is published: it names every answer (`ETag`) and keys the cache.

use std::fmt;

use http::HeaderValue;

use crate::etag;

/// The identifier of a load, a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LoadId(u128);

impl LoadId {
    /// Reads PostgreSQL's text of a UUID.
    pub fn parse(text: &str) -> Option<LoadId> {
        let digits: String = text.split('-').collect();
        u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32).map(LoadId)
    }

    /// The entity tag of all answers from this load.
    pub fn etag(self) -> HeaderValue {
        etag::weak(&self.to_string())
    }

    /// Whether `If-None-Match` names this load; `*` names none.
    pub fn matches(self, if_none_match: &HeaderValue) -> bool {
        etag::opaque(if_none_match).any(|tag| LoadId::parse(tag) == Some(self))
    }
}

impl fmt::Display for LoadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", self.0);
        let (a, b, c, d, e) = (&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]);
        write!(f, "{a}-{b}-{c}-{d}-{e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01a203b5-40f4-70cd-9b33-f881d2ef1c77";

    #[test]
    fn an_id_is_written_as_it_is_read() {
        assert_eq!(LoadId::parse(ID).unwrap().to_string(), ID);
        assert_eq!(LoadId::parse(ID).unwrap().etag(), format!("W/\"{ID}\""));
        let first = "00000000-0000-0000-0000-000000000001";
        assert_eq!(LoadId::parse(first).unwrap().to_string(), first);
        for text in ["", "1", "01a203b5-40f4-70cd-9b33-f881d2ef1c7x", "+1a203b5-40f4-70cd-9b33-f881d2ef1c7"] {
            assert_eq!(LoadId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn tags_are_compared_weakly() {
        let load = LoadId::parse(ID).unwrap();
        let other = "\"01a203b5-40f4-70cd-9b33-f881d2ef1c78\"";
        let matches = |value: &str| load.matches(&HeaderValue::from_str(value).unwrap());
        for value in [
            format!("W/\"{ID}\""),
            format!("\"{ID}\""),
            format!("{other}, W/\"{ID}\""),
            format!("\"a,b\" ,W/\"{ID}\" , {other}"),
        ] {
            assert!(matches(&value), "{value}");
        }
        for value in ["", "*", "W/", "\"", "\"\"", other, ID, "w/\"01a203b5-40f4-70cd-9b33-f881d2ef1c77\""] {
            assert!(!matches(value), "{value}");
        }
    }
}
