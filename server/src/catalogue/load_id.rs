//! Which load is published: it names every answer (`ETag`) and keys the cache.

use std::fmt;

/// The identifier of a load, a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LoadId(u128);

impl LoadId {
    /// Reads PostgreSQL's text of a UUID.
    pub fn parse(text: &str) -> Option<LoadId> {
        let digits: String = text.split('-').collect();
        u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32).map(LoadId)
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
        let first = "00000000-0000-0000-0000-000000000001";
        assert_eq!(LoadId::parse(first).unwrap().to_string(), first);
        for text in ["", "1", "01a203b5-40f4-70cd-9b33-f881d2ef1c7x", "+1a203b5-40f4-70cd-9b33-f881d2ef1c7"] {
            assert_eq!(LoadId::parse(text), None, "{text}");
        }
    }
}
