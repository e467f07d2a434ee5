//! The id of a load, a UUID. It is in the `ETag` of every answer and in every key of the cache.

use std::error::Error;
use std::fmt;

use postgres_types::{FromSql, Type, accepts};
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LoadId(Uuid);

impl LoadId {
    /// Reads 32 hexadecimal digits, with hyphens anywhere: a client may send a tag in another form than it got.
    pub(crate) fn parse(text: &str) -> Option<LoadId> {
        LoadId::parse_ascii(text.as_bytes())
    }

    fn parse_ascii(text: &[u8]) -> Option<LoadId> {
        let mut digits = [0; 32];
        let mut count = 0;
        for byte in text.iter().filter(|byte| **byte != b'-') {
            *digits.get_mut(count)? = *byte;
            count += 1;
        }
        (count == digits.len()).then(|| Uuid::try_parse_ascii(&digits).ok().map(LoadId)).flatten()
    }
}

impl fmt::Display for LoadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// Reads a `uuid`, and a `uuid` that was cast to `text`, as statements do whose rows share a column of texts.
impl<'a> FromSql<'a> for LoadId {
    fn from_sql(r#type: &Type, raw: &'a [u8]) -> Result<LoadId, Box<dyn Error + Sync + Send>> {
        match *r#type {
            Type::UUID => Ok(LoadId(Uuid::from_slice(raw)?)),
            _ => Ok(LoadId::parse_ascii(raw).ok_or("it is not a UUID")?),
        }
    }

    accepts!(UUID, TEXT);
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
        for text in [
            "",
            "1",
            "01a203b5-40f4-70cd-9b33-f881d2ef1c7x",
            "+1a203b5-40f4-70cd-9b33-f881d2ef1c7",
            "01a203b5-40f4-70cd-9b33-f881d2ef1c770",
            "{01a203b5-40f4-70cd-9b33-f881d2ef1c77}",
        ] {
            assert_eq!(LoadId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn hyphens_may_be_anywhere() {
        let id = LoadId::parse(ID);
        for text in ["01a203b540f470cd9b33f881d2ef1c77", "-01A203B540F4-70cd9b33f881d2ef1c77--"] {
            assert_eq!(LoadId::parse(text), id, "{text}");
            assert_eq!(LoadId::from_sql(&Type::TEXT, text.as_bytes()).ok(), id, "{text}");
        }
    }

    #[test]
    fn an_id_is_read_from_a_uuid_and_from_its_text() {
        let id = LoadId::parse(ID).unwrap();
        assert_eq!(LoadId::from_sql(&Type::UUID, id.0.as_bytes()).unwrap(), id);
        assert_eq!(LoadId::from_sql(&Type::TEXT, ID.as_bytes()).unwrap(), id);
        assert!(LoadId::from_sql(&Type::TEXT, b"x").is_err());
    }
}
