//! Which load is published: it names every answer (`ETag`) and keys the cache.

use std::fmt;

use http::HeaderValue;

/// The identifier of a load, a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LoadId(u128);

impl LoadId {
    /// Reads PostgreSQL's text of a UUID.
    pub fn parse(text: &str) -> Option<LoadId> {
        let digits: String = text.split('-').collect();
        u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32).map(LoadId)
    }

    /// The entity tag of all answers from this load. Weak, since the forms of a body (plain, gzip, …) share it: they
    /// say the same, but not in the same bytes (RFC 9110, section 8.8.1).
    pub fn etag(self) -> HeaderValue {
        // Hexadecimal digits and hyphens in quotes: always a header's value.
        HeaderValue::try_from(format!("W/\"{self}\"")).unwrap_or_else(|_| HeaderValue::from_static("W/\"\""))
    }

    /// Whether `If-None-Match` names this load: compared weakly, as RFC 9110, section 13.1.2 says. `*` names none: it
    /// asks whether there is such a resource.
    pub fn matches(self, if_none_match: &HeaderValue) -> bool {
        let Ok(tags) = if_none_match.to_str() else { return false };
        // Our tags hold no commas, so a tag that is split by one is not ours.
        let mut tags = tags.split(',').map(str::trim);
        tags.any(|tag| {
            let opaque = tag.strip_prefix("W/").unwrap_or(tag);
            let opaque = opaque.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            opaque.and_then(LoadId::parse) == Some(self)
        })
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
