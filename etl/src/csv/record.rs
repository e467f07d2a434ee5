//! The fields of one CSV record, by a strict reading of RFC 4180. `ending` decides where a record ends. No I/O, no
//! knowledge of tables.
//!
//! `csv-core` reads the same records but does not report what is repaired or rejected here: text after a closing quote, a
//! quote or a carriage return in a bare field, a quoted field that the end of the file closes.

use std::ops::Range;

use memchr::memchr;

/// A record longer than this is rejected.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// Fields that are kept. A record may have more: they are counted, not kept.
pub(crate) const MAX_FIELDS: usize = 16;

/// How a field is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Without quotes: `140`.
    #[default]
    Bare,
    /// In quotes, without quotes inside: `"XS"`.
    Quoted,
    /// In quotes, with doubled quotes inside: `"6"" nails"`.
    Escaped,
    /// In quotes that the end of the input closes.
    Open {
        /// Whether there are doubled quotes inside.
        escaped: bool,
    },
    /// A quote or a carriage return inside a bare field, or text after a closing quote. The span is all of it.
    Malformed,
}

/// What separates the fields of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delimiter {
    /// `,`, as RFC 4180 has it.
    #[default]
    Comma,
    /// `;`, which spreadsheets write where the comma is the decimal point.
    Semicolon,
    Tab,
    /// `|`
    Bar,
}

impl Delimiter {
    /// The usual one first.
    pub const ALL: [Delimiter; 4] = [Delimiter::Comma, Delimiter::Semicolon, Delimiter::Tab, Delimiter::Bar];

    #[inline]
    pub const fn byte(self) -> u8 {
        match self {
            Delimiter::Comma => b',',
            Delimiter::Semicolon => b';',
            Delimiter::Tab => b'\t',
            Delimiter::Bar => b'|',
        }
    }

    /// Whether `byte` is white space that may be around a field.
    #[inline]
    pub fn is_space(self, byte: u8) -> bool {
        byte == b' ' || (byte == b'\t' && self != Delimiter::Tab)
    }

    fn ends_field(self, byte: u8) -> bool {
        byte == self.byte() || byte == b'\n'
    }
}

/// A field: the span of its content in the record, without quotes and surrounding spaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field {
    start: u32,
    end: u32,
    /// How it is written.
    pub form: Form,
}

impl Field {
    /// In the bytes that were scanned.
    #[inline]
    pub fn span(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The content; `bytes` are those that were scanned.
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.span()]
    }

    /// A bare field and the spaces around it.
    pub(crate) fn with_spaces(self, bytes: &[u8], delimiter: Delimiter) -> Field {
        let is_space = |&byte: &u8| delimiter.is_space(byte);
        let Range { start, end } = self.span();
        let before = bytes[..start].iter().rev().take_while(|byte| is_space(byte)).count();
        let after = bytes[end..].iter().take_while(|byte| is_space(byte)).count();
        // No longer than the record, which was scanned.
        Field { start: (start - before) as u32, end: (end + after) as u32, ..self }
    }
}

/// The fields of one record. Reused from record to record.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    delimiter: Delimiter,
    kept: [Field; MAX_FIELDS],
    count: usize,
    /// There were spaces around a quoted field, outside its quotes, or more than one carriage return before the line end.
    pub spaced: bool,
    /// There were spaces around a bare field. They are not in its span.
    pub padded: bool,
    /// At least one field is [`Form::Malformed`].
    pub malformed: bool,
    /// The last field is [`Form::Open`].
    pub open: bool,
}

impl Fields {
    pub fn new(delimiter: Delimiter) -> Fields {
        Fields { delimiter, ..Fields::default() }
    }

    /// How many fields the record has, including those that are not kept.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The first `MAX_FIELDS` fields.
    pub fn kept(&self) -> &[Field] {
        &self.kept[..self.count.min(MAX_FIELDS)]
    }

    fn clear(&mut self) {
        self.count = 0;
        self.spaced = false;
        self.padded = false;
        self.malformed = false;
        self.open = false;
    }

    #[inline]
    fn push(&mut self, start: usize, end: usize, form: Form) {
        if let Some(slot) = self.kept.get_mut(self.count) {
            // No caller scans more than a few MiB.
            *slot = Field { start: start as u32, end: end as u32, form };
        }
        self.count += 1;
    }
}

/// For each delimiter, the bytes at which a bare field ends or needs a closer look.
static SPECIAL: [[bool; 256]; Delimiter::ALL.len()] = {
    let mut tables = [[false; 256]; Delimiter::ALL.len()];
    let mut number = 0;
    while number < tables.len() {
        let special = [Delimiter::ALL[number].byte(), b'\n', b'\r', b'"', b' ', b'\t'];
        let mut index = 0;
        while index < special.len() {
            tables[number][special[index] as usize] = true;
            index += 1;
        }
        number += 1;
    }
    tables
};

/// A closing quote is searched for byte by byte over this distance before `memchr` is called: faster for sizes such as
/// "XS". Other distances were not measured.
const SHORT_FIELD: usize = 16;

/// Reads the fields of the record at the start of `bytes`, up to the first line end outside quotes, or to the
/// end of `bytes`. Returns the index of that `\n`, or the length. Every `\r` right before the line end belongs to it.
#[inline]
pub fn scan(bytes: &[u8], fields: &mut Fields) -> usize {
    fields.clear();
    let delimiter = fields.delimiter;
    let special = &SPECIAL[delimiter as usize];
    let mut at = 0;
    loop {
        // A fast path for the usual forms: `140` and `"XS"`, followed by a delimiter or line end.
        let start = at;
        let form;
        let end;
        if bytes.get(at) == Some(&b'"') {
            let content = &bytes[start + 1..];
            let near = &content[..content.len().min(SHORT_FIELD)];
            let close = match near.iter().position(|&byte| byte == b'"') {
                Some(close) => Some(close),
                None => memchr(b'"', &content[near.len()..]).map(|close| near.len() + close),
            };
            form = Form::Quoted;
            end = close.map_or(bytes.len(), |close| start + 1 + close);
            at = end + 1;
        } else {
            form = Form::Bare;
            while let Some(&byte) = bytes.get(at)
                && !special[usize::from(byte)]
            {
                at += 1;
            }
            end = at;
        }
        if at <= bytes.len() && bytes.get(at).is_none_or(|&byte| delimiter.ends_field(byte)) {
            fields.push(start + usize::from(form == Form::Quoted), end, form);
        } else {
            at = scan_in_full(bytes, start, fields);
        }
        match bytes.get(at) {
            Some(&byte) if byte == delimiter.byte() => at += 1,
            _ => return at,
        }
    }
}

/// The field at `field_start`, whatever its form. Returns the index of the delimiter or `\n` after it, or the length.
#[inline(never)]
fn scan_in_full(bytes: &[u8], field_start: usize, fields: &mut Fields) -> usize {
    let at = skip(bytes, field_start, |byte| fields.delimiter.is_space(byte));
    if bytes.get(at) == Some(&b'"') {
        fields.spaced |= at > field_start;
        scan_quoted(bytes, at, field_start, fields)
    } else {
        scan_bare(bytes, at, field_start, fields)
    }
}

/// A field whose opening quote is at `quote`.
fn scan_quoted(bytes: &[u8], quote: usize, field_start: usize, fields: &mut Fields) -> usize {
    let start = quote + 1;
    let mut from = start;
    let mut escaped = false;
    let close = loop {
        match memchr(b'"', &bytes[from..]) {
            Some(found) if bytes.get(from + found + 1) == Some(&b'"') => {
                escaped = true;
                from += found + 2;
            }
            Some(found) => break from + found,
            None => {
                fields.open = true;
                let end = before_line_end(bytes, start, bytes.len(), fields);
                fields.push(start, end, Form::Open { escaped });
                return bytes.len();
            }
        }
    };
    let form = if escaped { Form::Escaped } else { Form::Quoted };
    let spaces_end = skip(bytes, close + 1, |byte| fields.delimiter.is_space(byte));
    let at = line_end(bytes, spaces_end).unwrap_or(spaces_end);
    if bytes.get(at).is_some_and(|&byte| !fields.delimiter.ends_field(byte)) {
        return scan_malformed(bytes, at, field_start, fields);
    }
    fields.spaced |= spaces_end > close + 1 || at > spaces_end + 1;
    fields.push(start, close, form);
    at
}

/// A field without quotes; `start` is after its leading spaces.
fn scan_bare(bytes: &[u8], start: usize, field_start: usize, fields: &mut Fields) -> usize {
    let mut at =
        skip(bytes, start, |byte| byte != b'"' && byte != b'\r' && !fields.delimiter.ends_field(byte));
    let content_end = at;
    match bytes.get(at) {
        Some(b'"') => return scan_malformed(bytes, at, field_start, fields),
        Some(b'\r') => match line_end(bytes, at) {
            Some(end) => at = end,
            None => return scan_malformed(bytes, at, field_start, fields),
        },
        _ => {}
    }
    let mut end = content_end;
    while end > start && fields.delimiter.is_space(bytes[end - 1]) {
        end -= 1;
    }
    fields.spaced |= at > content_end + 1;
    fields.padded |= start > field_start || end < content_end;
    fields.push(start, end, Form::Bare);
    at
}

/// A field that is not CSV: it ends at the next delimiter or line end.
#[cold]
fn scan_malformed(bytes: &[u8], from: usize, field_start: usize, fields: &mut Fields) -> usize {
    let at = skip(bytes, from, |byte| !fields.delimiter.ends_field(byte));
    fields.malformed = true;
    let end = match bytes.get(at) {
        Some(&byte) if byte == fields.delimiter.byte() => at,
        _ => before_line_end(bytes, field_start, at, fields),
    };
    fields.push(field_start, end, Form::Malformed);
    at
}

/// The first index from `at` on whose byte is not `skipped`, or the length.
fn skip(bytes: &[u8], at: usize, skipped: impl Fn(u8) -> bool) -> usize {
    bytes[at..].iter().position(|&byte| !skipped(byte)).map_or(bytes.len(), |found| at + found)
}

/// If only carriage returns are left of the line at `at`: the index of its `\n`, or the length.
fn line_end(bytes: &[u8], at: usize) -> Option<usize> {
    let end = skip(bytes, at, |byte| byte == b'\r');
    matches!(bytes.get(end), None | Some(b'\n')).then_some(end)
}

/// `end` without the carriage returns before it; one of them is usual, more are spacing.
fn before_line_end(bytes: &[u8], start: usize, end: usize, fields: &mut Fields) -> usize {
    let content = without_carriage_returns(&bytes[start..end]).len();
    fields.spaced |= end > start + content + 1;
    start + content
}

/// `line` without the carriage returns that belong to its line end.
pub(crate) fn without_carriage_returns(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|&byte| byte != b'\r').map_or(0, |last| last + 1);
    &line[..end]
}

/// What every record of a file has: enough to decide whether a line may be a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordShape {
    pub delimiter: Delimiter,
    pub fields: usize,
    /// Indices of the fields that hold ids.
    pub ids: Vec<usize>,
}

impl RecordShape {
    /// Whether `line` is a whole record by itself: the right number of fields, integers where the ids are.
    /// It may lack its own last quote.
    pub fn fits(&self, line: &[u8], fields: &mut Fields) -> bool {
        scan(line, fields);
        !fields.malformed
            && fields.count() == self.fields
            && self.ids.iter().all(|&id| {
                fields.kept().get(id).is_some_and(|field| {
                    let text = field.of(line);
                    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
                })
            })
    }
}
