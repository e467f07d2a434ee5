//! Texts and numbers, appended to a buffer as they are in the file, without the quotes around them. No `format!`: these
//! write 2.2 billion bytes.

use crate::random::Random;
use crate::words;

/// In bytes. A description has `MIN_DESCRIPTION`, up to `DESCRIPTION_SPREAD` more, and the rest of its last sentence, at
/// most 78.
const MIN_DESCRIPTION: u32 = 55;
const DESCRIPTION_SPREAD: u32 = 245;
/// Valid texts that are hard to parse are used once in this many.
const RARE: u32 = 256;
/// Widths of pictures, in pixels.
const WIDTHS: &[&str] = &["480", "640", "750", "934", "1080", "1400", "1650", "2250"];

/// Appends a number in decimal.
pub(crate) fn number(out: &mut Vec<u8>, value: u32) {
    push(out, itoa::Buffer::new().format(value));
}

/// Appends a product's name: 9 to 24 characters.
pub(crate) fn name(out: &mut Vec<u8>, random: &mut Random, shoes: bool) {
    if random.one_in(RARE) {
        return push(out, random.pick(words::RARE_NAMES));
    }
    push(out, random.pick(words::KINDS));
    out.push(b' ');
    push(out, random.pick(if shoes { words::SHOES } else { words::GARMENTS }));
}

/// Appends a slogan: 11 to 85 characters.
pub(crate) fn slogan(out: &mut Vec<u8>, random: &mut Random) {
    if random.one_in(RARE) {
        return push(out, random.pick(words::RARE_SLOGANS));
    }
    push(out, random.pick(words::OPENINGS));
    push(out, random.pick(words::CLOSES));
}

/// Appends a description of several sentences: 55 to 381 characters.
pub(crate) fn description(out: &mut Vec<u8>, random: &mut Random) {
    let end = out.len() + (MIN_DESCRIPTION + random.below(DESCRIPTION_SPREAD)) as usize;
    loop {
        if random.one_in(RARE) {
            push(out, random.pick(words::RARE_SENTENCES));
        } else {
            push(out, random.pick(words::SUBJECTS));
            out.push(b' ');
            push(out, random.pick(words::VERBS));
            out.push(b' ');
            push(out, random.pick(words::ENDINGS));
            out.push(b'.');
        }
        if out.len() >= end {
            return;
        }
        out.push(b' ');
    }
}

/// Appends a category, one of 28.
pub(crate) fn category(out: &mut Vec<u8>, random: &mut Random, shoes: bool) {
    push(out, random.pick(if shoes { words::SHOE_CATEGORIES } else { words::CATEGORIES }));
}

/// Appends a style's name.
pub(crate) fn colour(out: &mut Vec<u8>, random: &mut Random) {
    if random.one_in(RARE) {
        return push(out, random.pick(words::RARE_COLOURS));
    }
    push(out, random.pick(words::COLOURS));
    if random.one_in(8) {
        push(out, " & ");
        push(out, random.pick(words::COLOURS));
    }
}

/// A feature and its value; null once in eight.
pub(crate) fn feature(random: &mut Random) -> (&'static str, Option<&'static str>) {
    if random.one_in(8) {
        return (random.pick(words::CERTIFICATES), None);
    }
    let feature = &words::FEATURES[random.below(words::FEATURES.len() as u32) as usize];
    (feature.name, Some(random.pick(feature.values)))
}

/// Appends the two quoted URLs of a photo, a comma between them: the picture and its thumbnail.
pub(crate) fn photo(out: &mut Vec<u8>, random: &mut Random) {
    let start = out.len();
    push(out, "\"https://images.unsplash.com/photo-1");
    // Thirteen digits, milliseconds of a time in this century, and twelve hexadecimal ones.
    decimal(out, random.bits(), 12);
    out.push(b'-');
    hexadecimal(out, random.bits(), 12);
    push(out, "?ixlib=rb-4.0.3&ixid=");
    hexadecimal(out, random.bits(), 7);
    push(out, "&auto=format&fit=crop&w=");
    let end = out.len();
    push(out, random.pick(WIDTHS));
    push(out, "&q=80\",");
    out.extend_from_within(start..end);
    push(out, "300&q=80\"");
}

fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn decimal(out: &mut Vec<u8>, mut bits: u64, digits: u32) {
    for _ in 0..digits {
        // The upper bits are the digit, the lower ones are left for the next digits.
        let product = (bits >> 4) * 10;
        out.push(b'0' + (product >> 60) as u8);
        bits = product << 4;
    }
}

fn hexadecimal(out: &mut Vec<u8>, mut bits: u64, digits: u32) {
    for _ in 0..digits {
        out.push(b"0123456789abcdef"[(bits & 15) as usize]);
        bits >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn texts_have_the_lengths_of_the_real_ones() {
        let mut random = Random::new(42, Stream::Product, 0);
        type Write = fn(&mut Vec<u8>, &mut Random);
        let cases: [(&str, Write, usize, usize); 4] = [
            ("name", |out, random| name(out, random, false), 9, 24),
            ("name of shoes", |out, random| name(out, random, true), 9, 24),
            ("slogan", slogan, 11, 85),
            ("description", description, 55, 381),
        ];
        for (what, write, least, most) in cases {
            for _ in 0..20_000 {
                let mut out = Vec::new();
                write(&mut out, &mut random);
                let text = String::from_utf8(out).unwrap().replace("\"\"", "\"");
                let length = text.chars().count();
                assert!((least..=most).contains(&length), "{what} of {length}: {text}");
            }
        }
        assert_eq!(words::CATEGORIES.len() + words::SHOE_CATEGORIES.len(), 28);
    }

    #[test]
    fn numbers_and_photos_have_their_format() {
        let mut out = Vec::new();
        for value in [0, 7, 10, u32::MAX] {
            number(&mut out, value);
            out.push(b' ');
        }
        assert_eq!(out, b"0 7 10 4294967295 ");
        out.clear();
        photo(&mut out, &mut Random::new(42, Stream::Photos, 0));
        let text = String::from_utf8(out).unwrap();
        let (picture, thumbnail) = text.split_once(',').unwrap();
        let name = picture.strip_prefix("\"https://images.unsplash.com/photo-").unwrap();
        assert!(
            name.as_bytes()[..13].iter().all(u8::is_ascii_digit) && name.as_bytes()[13] == b'-',
            "{name}"
        );
        assert_eq!(picture.split_once("&w=").unwrap().0, thumbnail.split_once("&w=").unwrap().0);
        assert!(thumbnail.ends_with("&w=300&q=80\""), "{thumbnail}");
    }
}
