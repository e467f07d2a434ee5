//! Text from files, names and other programs, made safe to show: invisible characters are written as escapes, so that they
//! are seen, and cannot control a terminal or reverse a line.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` with every invisible character as Rust's escape, such as `\u{200b}`, `\n` or `\u{a0}`: control and format
/// characters, spaces other than the usual one, line separators, and what no character is assigned to.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |character, escaped| escaped.extend(character.escape_default()))
}

/// The same for JSON text: `\u200b`, which a parser reads as the same character.
pub fn visible_json(text: &str) -> Cow<'_, str> {
    escaped(text, |character, escaped| {
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing into a String cannot fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    })
}

fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.chars().any(is_invisible) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match is_invisible(character) {
            true => escape(character, &mut shown),
            false => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

/// Whether `character` is drawn as nothing, or as a space that is not U+0020.
fn is_invisible(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    // The standard library knows what is printable; at the beginning it would escape a combining mark too.
    let mut buffer = *b"x0000";
    let end = 1 + character.encode_utf8(&mut buffer[1..]).len();
    let is_printable = std::str::from_utf8(&buffer[..end]).is_ok_and(|text| text.escape_debug().count() == 2);
    !is_printable || is_blank(character)
}

/// Letters, marks and symbols that are drawn as nothing: fillers, variation selectors, the empty pattern of Braille.
fn is_blank(character: char) -> bool {
    matches!(character,
        '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2800}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fffc}' | '\u{1107f}' | '\u{13430}'..='\u{13455}' | '\u{16fe4}' | '\u{1d159}' | '\u{e0100}'..='\u{e01ef}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_are_escaped() {
        for (text, shown) in [
            ("XS \\ 6\" 'é' \u{1f9f5} e\u{301}", "XS \\ 6\" 'é' \u{1f9f5} e\u{301}"),
            ("a\x1b[31m\r\n\t\0", "a\\u{1b}[31m\\r\\n\\t\\u{0}"),
            // C1 controls, odd spaces, marks of direction and width, a byte order mark, tags.
            ("\u{85}\u{9b}", "\\u{85}\\u{9b}"),
            ("\u{a0}\u{2003}\u{3000}\u{2028}", "\\u{a0}\\u{2003}\\u{3000}\\u{2028}"),
            ("\u{202e}\u{2066}\u{61c}\u{200b}", "\\u{202e}\\u{2066}\\u{61c}\\u{200b}"),
            ("\u{ad}\u{feff}\u{2060}\u{e0041}", "\\u{ad}\\u{feff}\\u{2060}\\u{e0041}"),
            ("\u{3164}\u{fe0f}\u{2800}", "\\u{3164}\\u{fe0f}\\u{2800}"),
            ("\u{e000}\u{fffe}", "\\u{e000}\\u{fffe}"),
        ] {
            assert_eq!(visible(text), shown);
        }
        assert_eq!(visible_json("{\"a\":\"\u{202e}\u{e0041}\"}"), "{\"a\":\"\\u202e\\udb40\\udc41\"}");
    }
}
