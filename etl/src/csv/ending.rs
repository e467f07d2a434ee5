//! Where a record ends: the one rule for a quote that is opened and not closed before its line ends. No I/O.
//!
//! 1. A record that is closed at the end of its line ends there. So does one that cannot be repaired: with text after a
//!    closing quote, or a quote in the middle of a field.
//! 2. Where a quoted field is open at the end of the line, the record is read on. If all of it is valid by RFC 4180, it
//!    ends where RFC 4180 ends it, whatever its lines look like and however long it is.
//! 3. If it is not (text follows a closing quote, a quote is in the middle of a field, the file ends first), the quote
//!    counts as unterminated: the record ends at the end of its first line, and the next one begins after it. The same if
//!    the record does not have the header's number of fields and the quote is closed right after a delimiter, where quotes
//!    open fields: then the opening quote of the next field was read as the closing one.
//!
//! **No row is made of a part of another.** Read the file from its start by RFC 4180. As long as its records have the
//! header's number of fields, these rules give the same records, by rules 1 and 2. Where a record is not valid, or has
//! another number of fields, the rest of its lines may be read in two ways, and rule 3 chooses: it continues with the next
//! line. A record that begins there is whole by itself again, by the same argument.
//!
//! **One bad quote costs one line** where the values of the file have no line ends: every other line has an even number
//! of quotes, so reading on never ends before the file does. In other files it turns the next opening quote into a closing
//! one, and rule 3 detects it by the text after that quote, or the delimiter before it.
//!
//! **It takes linear time.** Reading on ends at the latest at the next line with an odd number of quotes, and it begins
//! only at such lines.
//!
//! COPY ends a record where the number of quotes is even, so a quote that is never closed makes one value of the rest of
//! the file.

use memchr::{memchr, memchr_iter};

use crate::csv::record::{Delimiter, RecordShape};

/// Where a record ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Without the `\n`.
    pub bytes: u64,
    pub lines: u64,
}

impl Ending {
    fn of_line(bytes: u64) -> Ending {
        Ending { bytes, lines: 1 }
    }
}

/// The end of the record at the start of `bytes`, or `None` if more bytes are needed. `complete` means that nothing
/// follows them, or nothing that may belong to this record.
///
/// A shorter piece of the same input gives the same result if it was cut after a record: what ended this one is in the
/// shorter piece too, and where reading on failed, it fails at the end of the piece at the latest, with the quote open.
#[inline]
pub(crate) fn ending(bytes: &[u8], complete: bool, shape: &RecordShape) -> Option<Ending> {
    let line = &bytes[..memchr(b'\n', bytes).or(complete.then_some(bytes.len()))?];
    match has_odd_quotes(line) {
        false => Some(Ending::of_line(line.len() as u64)),
        true => read_on(bytes, complete, shape),
    }
}

/// Whether a quoted field may be open at the end of `line`.
#[inline]
pub(crate) fn has_odd_quotes(line: &[u8]) -> bool {
    !memchr_iter(b'"', line).count().is_multiple_of(2)
}

/// [`ending`] for a record whose first line has an odd number of quotes.
#[cold]
pub(crate) fn read_on(bytes: &[u8], complete: bool, shape: &RecordShape) -> Option<Ending> {
    let mut reading = Reading::new(shape);
    let ending = reading.next(bytes);
    ending.or_else(|| complete.then(|| reading.finish()))
}

/// A record that is read from its start, in pieces of any size, until it is known where it ends.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    shape: &'a RecordShape,
    state: State,
    /// Fields begun.
    fields: usize,
    /// The last byte that is not a space.
    last: u8,
    /// The quote that was open at the end of the first line is closed.
    is_closed: bool,
    /// It is closed right after a delimiter.
    is_closed_after_delimiter: bool,
    /// Bytes read.
    passed: u64,
    line_ends: u64,
    /// The record if it is no more than its first line.
    first_line: Option<Ending>,
}

/// The part of a record that was read last. [`crate::csv::record::scan`] reads the same bytes in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Of a field; only spaces were read.
    Start,
    Bare,
    /// A carriage return outside quotes: only a line end may follow.
    Return,
    Quoted,
    /// A quote in quotes: the closing one, or the first of two.
    Quote,
    /// Spaces after the closing quote.
    AfterQuote,
    /// Not CSV.
    Malformed,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(shape: &'a RecordShape) -> Reading<'a> {
        Reading {
            shape,
            state: State::Start,
            fields: 1,
            last: b'\n',
            is_closed: false,
            is_closed_after_delimiter: false,
            passed: 0,
            line_ends: 0,
            first_line: None,
        }
    }

    /// Reads the next bytes. Returns the end of the record if it is known now.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Option<Ending> {
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            if self.state == State::Quoted && byte != b'"' {
                let length = memchr(b'"', &bytes[at..]).unwrap_or(bytes.len() - at);
                self.pass_quoted(&bytes[at..at + length]);
                at += length;
                continue;
            }
            if byte == b'\n' {
                return Some(self.here());
            }
            self.pass(byte);
            if self.state == State::Malformed && self.first_line.is_some() {
                return self.first_line;
            }
            at += 1;
        }
        None
    }

    /// The end of the record if nothing follows what was read.
    pub(crate) fn finish(&self) -> Ending {
        match self.first_line {
            Some(first_line) if self.state == State::Quoted => first_line,
            _ => self.here(),
        }
    }

    /// The end of the record if it ends here, outside quotes.
    fn here(&self) -> Ending {
        match self.first_line {
            Some(first_line) if self.is_closed_after_delimiter && self.fields != self.shape.fields => {
                first_line
            }
            _ => Ending { bytes: self.passed, lines: self.line_ends + 1 },
        }
    }

    fn pass(&mut self, byte: u8) {
        let delimiter = self.shape.delimiter;
        let before = self.state;
        self.state = before.after(byte, delimiter);
        if self.first_line.is_some() && !self.is_closed {
            if before == State::Quoted {
                self.is_closed_after_delimiter = self.last == delimiter.byte();
            }
            self.is_closed = before == State::Quote && self.state != State::Quoted;
        }
        self.fields += usize::from(byte == delimiter.byte() && self.state == State::Start);
        self.last = if delimiter.is_space(byte) { self.last } else { byte };
        self.passed += 1;
    }

    fn pass_quoted(&mut self, text: &[u8]) {
        if self.first_line.is_none() {
            let end = memchr(b'\n', text).map(|end| self.passed + end as u64);
            self.first_line = end.map(Ending::of_line);
        }
        self.line_ends += memchr_iter(b'\n', text).count() as u64;
        self.passed += text.len() as u64;
        let last = text.iter().rfind(|&&byte| !self.shape.delimiter.is_space(byte));
        self.last = last.copied().unwrap_or(self.last);
    }
}

impl State {
    /// The state after `byte`, which is not a line end, and in quotes is a quote.
    fn after(self, byte: u8, delimiter: Delimiter) -> State {
        use State::{AfterQuote, Bare, Malformed, Quote, Quoted, Return, Start};
        match (self, byte) {
            (Quoted, _) => Quote,
            (Quote, b'"') => Quoted,
            // The record cannot be repaired, and ends with this line.
            (Malformed, _) => Malformed,
            (_, b'\r') => Return,
            (Return, _) => Malformed,
            _ if byte == delimiter.byte() => Start,
            (Start, b'"') => Quoted,
            (Start, _) if delimiter.is_space(byte) => Start,
            (Quote | AfterQuote, _) if delimiter.is_space(byte) => AfterQuote,
            (Start, _) => Bare,
            (Bare, _) if byte != b'"' => Bare,
            _ => Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::csv::record::{Fields, scan};

    /// Bytes and lines, if it is known.
    type End = Option<(u64, u64)>;

    fn shape(delimiter: Delimiter) -> RecordShape {
        RecordShape { delimiter, fields: 2, ids: vec![0] }
    }

    fn end(text: &str, complete: bool) -> End {
        let ending = ending(text.as_bytes(), complete, &shape(Delimiter::Comma));
        ending.map(|ending| (ending.bytes, ending.lines))
    }

    #[test]
    fn a_record_ends_where_rfc_4180_ends_it_or_with_its_line() {
        let cases: &[(&str, End, End)] = &[
            // The text, the end while more may come, and at the end of the file.
            ("1,a\n2,b\n", Some((3, 1)), Some((3, 1))),
            ("1,a", None, Some((3, 1))),
            // Line ends in quotes, whatever is in the lines, and however many fields there are.
            ("1,\"a\nb\"\n", Some((7, 2)), Some((7, 2))),
            ("1,\"a\n2,b\nc\"\n", Some((11, 3)), Some((11, 3))),
            ("1,\"a\n2,b\n\",c,d\n", Some((14, 3)), Some((14, 3))),
            ("1,\"a\n\"\"b\"\"\n\" \r\r\n", Some((15, 3)), Some((15, 3))),
            ("1,\"a\n\"", None, Some((6, 2))),
            ("1,\"a\n\", \"b\nc\" ,d\r\n", Some((17, 3)), Some((17, 3))),
            // Closed after a delimiter: by the next field's own quote, unless the number of fields is right.
            ("1,2,\"a\n3,\"\n4,b\n\"\n", Some((6, 1)), Some((6, 1))),
            ("1,\"a\n3, \",b\n", Some((4, 1)), Some((4, 1))),
            ("1,\"a\n3,\"\n", Some((8, 2)), Some((8, 2))),
            ("1,\"a\n,\"\"\",b\n", Some((11, 2)), Some((11, 2))),
            // Never closed, or closed in front of text.
            ("1,\"a\n2,b\n", None, Some((4, 1))),
            ("1,\"a\n2,\"b\"\n", Some((4, 1)), Some((4, 1))),
            ("1,\"a\n2,b\"x\n", Some((4, 1)), Some((4, 1))),
            ("1,\"a\n\",b\"\n", Some((4, 1)), Some((4, 1))),
            ("1,\"a\n\"\r,b\n", Some((4, 1)), Some((4, 1))),
            ("1,\"a\n\",\"b\n", None, Some((4, 1))),
            // Not CSV before the quote that is open.
            ("1,a\"b\n\"\n", Some((5, 1)), Some((5, 1))),
            ("1,a\"b,\"c\n\"\n", Some((8, 1)), Some((8, 1))),
            ("1,\"a\"b,\"c\nd\"\n", Some((9, 1)), Some((9, 1))),
            ("1,a\rb,\"c\nd\"\n", Some((8, 1)), Some((8, 1))),
        ];
        for (text, more, last) in cases {
            assert_eq!((end(text, false), end(text, true)), (*more, *last), "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// In pieces of any size, and as `scan` reads the same bytes.
        #[test]
        fn reading_on_is_scanning(
            pieces in vec(select(&["\"", "\"", ",", "\n", "\r", " ", "\t", "x", "1", ";"][..]), 0..16),
            delimiter in select(&Delimiter::ALL[..]),
            size in 1usize..5,
        ) {
            let bytes = pieces.concat().into_bytes();
            let shape = shape(delimiter);
            let expected = read_on(&bytes, true, &shape).unwrap();
            let mut reading = Reading::new(&shape);
            let found = bytes.chunks(size).find_map(|piece| reading.next(piece));
            prop_assert_eq!(found.unwrap_or_else(|| reading.finish()), expected);

            let line = bytes.split(|&byte| byte == b'\n').next().unwrap();
            let (mut first, mut all) = (Fields::new(delimiter), Fields::new(delimiter));
            scan(line, &mut first);
            let end = scan(&bytes, &mut all);
            let is_valid = first.open && !first.malformed && !all.open && !all.malformed;
            let is_read_on = is_valid && (all.count() == shape.fields || {
                let closed = all.kept()[first.count() - 1].of(&bytes);
                closed.iter().rfind(|&&byte| !delimiter.is_space(byte)) != Some(&delimiter.byte())
            });
            prop_assert_eq!(expected.bytes, if is_read_on { end } else { line.len() } as u64);
            prop_assert!(has_odd_quotes(line) || !first.open || first.malformed);
        }
    }
}
