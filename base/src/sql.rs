//! SQL in messages, to be pasted as it is.

pub use postgres_protocol::escape::escape_identifier as quoted;

/// What to do where `user` may not read the catalogue.
pub fn grant_reader(user: &str) -> String {
    format!("as an administrator: GRANT atelier_reader TO {}", quoted(user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        for (user, expected) in
            [("ann", "\"ann\""), ("we\"ird", "\"we\"\"ird\""), ("Ann; DROP", "\"Ann; DROP\"")]
        {
            let hint = grant_reader(user);
            assert_eq!(hint, format!("as an administrator: GRANT atelier_reader TO {expected}"));
        }
    }
}
