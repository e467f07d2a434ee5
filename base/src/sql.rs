//! SQL in messages, ready to be pasted.

pub use postgres_protocol::escape::escape_identifier as quoted;

/// The hint where `user` may not read the catalogue.
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
