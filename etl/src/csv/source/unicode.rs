//! UTF-16 and UTF-32 → UTF-8. What is not valid becomes a byte that is not valid UTF-8, so that its row is rejected: a
//! replacement character would be loaded as if it had been in the file.

use std::io::{self, Read};

use super::format::Wide;

/// Bytes read at a time: a multiple of a code unit.
const BUFFER_BYTES: usize = 64 << 10;

/// Not valid anywhere in UTF-8.
const INVALID: u8 = 0xff;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads text as UTF-8, without its byte order mark.
pub(super) struct ToUtf8<R> {
    text: R,
    wide: Wide,
    /// Read, and not converted yet.
    units: Vec<u8>,
    /// Converted, and how much of it was read by the caller.
    utf8: Vec<u8>,
    taken: usize,
    at_start: bool,
}

impl<R: Read> ToUtf8<R> {
    pub(super) fn new(text: R, wide: Wide) -> ToUtf8<R> {
        ToUtf8 { text, wide, units: Vec::new(), utf8: Vec::new(), taken: 0, at_start: true }
    }

    /// Reads and converts the next piece. Returns whether there was one.
    fn advance(&mut self) -> io::Result<bool> {
        let read = self.text.by_ref().take(BUFFER_BYTES as u64).read_to_end(&mut self.units)?;
        (self.utf8, self.taken) = (Vec::with_capacity(read), 0);
        let complete = read < BUFFER_BYTES;
        let whole = self.units.len() - self.units.len() % self.wide.unit;
        let left = match self.wide.unit {
            2 => self.push_utf_16(whole, complete),
            _ => {
                self.push_utf_32(whole);
                whole
            }
        };
        self.units.drain(..left);
        if complete && !self.units.is_empty() {
            self.units.clear();
            self.utf8.push(INVALID);
        }
        Ok(!self.utf8.is_empty() || !complete)
    }

    /// Converts the first `whole` bytes, except a surrogate whose partner may follow. Returns how many bytes it converted.
    fn push_utf_16(&mut self, mut whole: usize, complete: bool) -> usize {
        let unit = |bytes: &[u8]| match self.wide.big_endian {
            true => u16::from_be_bytes([bytes[0], bytes[1]]),
            false => u16::from_le_bytes([bytes[0], bytes[1]]),
        };
        if whole >= 2 && !complete && matches!(unit(&self.units[whole - 2..whole]), 0xd800..=0xdbff) {
            whole -= 2;
        }
        let units: Vec<u16> = self.units[..whole].chunks_exact(2).map(unit).collect();
        char::decode_utf16(units).for_each(|decoded| self.push(decoded.ok()));
        whole
    }

    fn push_utf_32(&mut self, whole: usize) {
        let big_endian = self.wide.big_endian;
        let unit = |bytes: &[u8]| match big_endian {
            true => u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            false => u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        };
        let units: Vec<u32> = self.units[..whole].chunks_exact(4).map(unit).collect();
        units.into_iter().for_each(|unit| self.push(char::from_u32(unit)));
    }

    fn push(&mut self, decoded: Option<char>) {
        let is_mark = std::mem::take(&mut self.at_start) && decoded == Some(BYTE_ORDER_MARK);
        match decoded {
            Some(_) if is_mark => {}
            Some(character) => self.utf8.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            None => self.utf8.push(INVALID),
        }
    }
}

impl<R: Read> Read for ToUtf8<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.utf8.len() {
            if !self.advance()? {
                return Ok(0);
            }
        }
        let read = (&self.utf8[self.taken..]).read(buffer)?;
        self.taken += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WIDE: [Wide; 4] = [
        Wide { unit: 2, big_endian: false },
        Wide { unit: 2, big_endian: true },
        Wide { unit: 4, big_endian: false },
        Wide { unit: 4, big_endian: true },
    ];

    fn encoded(text: &str, wide: Wide) -> Vec<u8> {
        let order = |mut bytes: Vec<u8>| {
            if wide.big_endian {
                bytes.reverse();
            }
            bytes
        };
        match wide.unit {
            2 => text.encode_utf16().flat_map(|unit| order(unit.to_le_bytes().to_vec())).collect(),
            _ => text.chars().flat_map(|unit| order(u32::from(unit).to_le_bytes().to_vec())).collect(),
        }
    }

    fn decoded(bytes: &[u8], wide: Wide) -> Vec<u8> {
        let mut utf8 = Vec::new();
        ToUtf8::new(bytes, wide).read_to_end(&mut utf8).unwrap();
        utf8
    }

    #[test]
    fn the_mark_is_removed_and_invalid_text_is_invalid_utf_8() {
        for wide in WIDE {
            assert_eq!(
                decoded(&encoded("\u{feff}id,\u{feff}é\u{1f9f5}\n", wide), wide),
                "id,\u{feff}é\u{1f9f5}\n".as_bytes()
            );
            // Half a code unit at the end.
            let cut = encoded("id", wide);
            assert_eq!(decoded(&cut[..cut.len() - 1], wide), b"i\xff");
        }
        assert_eq!(decoded(&[0, 0xd8, b'a', 0], WIDE[0]), b"\xffa");
        assert_eq!(decoded(&[b'a', 0, 0, 0xd8], WIDE[0]), b"a\xff");
        assert_eq!(decoded(&[0, 0, 0x11, 0], WIDE[2]), b"\xff");
        assert_eq!(decoded(&[], WIDE[0]), b"");
    }

    /// Also where a pair of surrogates is split between two pieces.
    #[test]
    fn text_longer_than_a_piece_is_whole() {
        for lead in 0..3 {
            let text = "a".repeat(lead) + &"\u{1f9f5}é".repeat(BUFFER_BYTES / 3);
            for wide in WIDE {
                assert!(decoded(&encoded(&text, wide), wide) == text.as_bytes(), "{lead} {wide:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_text_is_the_same(text in ".*", wide in proptest::sample::select(&WIDE[..])) {
            let text = text.trim_start_matches(BYTE_ORDER_MARK);
            prop_assert_eq!(decoded(&encoded(text, wide), wide), text.as_bytes());
        }
    }
}
