//! Pieces of the input for messages: short, with escapes for invisible characters.

use atelier_base::visible::visible;

/// In characters.
const MAX_EXCERPT: usize = 40;

/// The beginning of `text`; `…` if there is more.
pub(crate) fn excerpt(text: &[u8]) -> String {
    // A character has at most four bytes.
    let head = String::from_utf8_lossy(&text[..text.len().min(4 * MAX_EXCERPT)]);
    let mut characters = head.chars();
    let mut short = shown(characters.by_ref().take(MAX_EXCERPT));
    if characters.next().is_some() || text.len() > 4 * MAX_EXCERPT {
        short.push('…');
    }
    short
}

/// The end of `text`, in the same way.
pub(crate) fn excerpt_of_end(text: &[u8]) -> String {
    let tail = String::from_utf8_lossy(&text[text.len().saturating_sub(4 * MAX_EXCERPT)..]);
    let left_out = tail.chars().count().saturating_sub(MAX_EXCERPT);
    let mark = if left_out > 0 || text.len() > 4 * MAX_EXCERPT { "…" } else { "" };
    format!("{mark}{}", shown(tail.chars().skip(left_out)))
}

fn shown(characters: impl Iterator<Item = char>) -> String {
    visible(&characters.collect::<String>()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_short_and_cannot_control_a_terminal() {
        let long = "é".repeat(41);
        let cases = [
            ("XS", "XS".to_owned(), "XS".to_owned()),
            ("a\x1b[31m\n", "a\\u{1b}[31m\\n".to_owned(), "a\\u{1b}[31m\\n".to_owned()),
            ("1\u{200b}", "1\\u{200b}".to_owned(), "1\\u{200b}".to_owned()),
            (&long, format!("{}…", "é".repeat(40)), format!("…{}", "é".repeat(40))),
        ];
        for (text, head, tail) in cases {
            assert_eq!((excerpt(text.as_bytes()), excerpt_of_end(text.as_bytes())), (head, tail));
        }
    }
}
