//! One CSV record: its fields, and where it ends. The strict reading of RFC 4180 that everything else builds
//! on, and the one rule for a quote that is opened and not closed. No I/O, no knowledge of tables.
//!
//! `csv-core` reads the same records but accepts what has to be told apart here: text behind a closing quote,
//! a quote inside a bare field, a quoted field that runs on to the end of the file.

use std::ops::Range;

use memchr::{memchr, memchr_iter};

/// A record longer than this is rejected, and a quote is given up that finds no partner within it.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// Fields that are kept. A record may have more: they are counted, not kept.
pub const MAX_FIELDS: usize = 16;

/// How a field is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Without quotes: `140`.
    #[default]
    Bare,
    /// In quotes, content as it stands: `"XS"`.
    Quoted,
    /// In quotes, with doubled quotes inside: `"6"" nails"`.
    Escaped,
    /// In quotes that the end of the input closes.
    Open {
        /// Whether there are doubled quotes inside.
        escaped: bool,
    },
    /// A quote inside a bare field, or text behind a closing quote. The span is all of it.
    Ragged,
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
    /// Where the content stands in the bytes that were scanned.
    #[inline]
    pub fn span(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The content, in the bytes that were scanned.
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.span()]
    }
}

/// The fields of one record. Reused from record to record.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    kept: [Field; MAX_FIELDS],
    count: usize,
    /// Spaces stood around a field, outside its quotes.
    pub spaced: bool,
    /// At least one field is [`Form::Ragged`].
    pub ragged: bool,
    /// The last field is [`Form::Open`].
    pub open: bool,
}

impl Fields {
    /// How many fields the record has, also where more than [`MAX_FIELDS`].
    pub fn count(&self) -> usize {
        self.count
    }

    /// The fields kept: all of them, up to [`MAX_FIELDS`].
    pub fn kept(&self) -> &[Field] {
        &self.kept[..self.count.min(MAX_FIELDS)]
    }

    fn clear(&mut self) {
        self.count = 0;
        self.spaced = false;
        self.ragged = false;
        self.open = false;
    }

    #[inline]
    fn push(&mut self, start: usize, end: usize, form: Form) {
        if let Some(slot) = self.kept.get_mut(self.count) {
            // Whoever scans has at most a few MiB.
            *slot = Field { start: start as u32, end: end as u32, form };
        }
        self.count += 1;
    }

    /// Whether every field is written as RFC 4180 has it.
    fn strict(&self) -> bool {
        !self.ragged && !self.open
    }
}

fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Bytes that end or change the reading of a bare field.
static SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut index = 0;
    let special = b",\n\r\" \t";
    while index < special.len() {
        table[special[index] as usize] = true;
        index += 1;
    }
    table
};

/// A closing quote is looked for byte by byte over this distance before a search with vectors is worth its call. Sizes
/// such as "XS" gain by it; other distances were not measured.
const SHORT_FIELD: usize = 16;

/// Reads the fields of the record at the start of `bytes`, up to the first line end outside quotes, or to the
/// end of `bytes`. Gives the index of that `\n`, or the length. A `\r` before the line end belongs to it.
#[inline]
pub fn scan(bytes: &[u8], fields: &mut Fields) -> usize {
    scan_while(bytes, fields, |_| true)
}

/// [`scan`], but goes on to the next field only if `going_on` likes the ones so far.
#[inline]
fn scan_while(bytes: &[u8], fields: &mut Fields, going_on: impl Fn(&Fields) -> bool) -> usize {
    fields.clear();
    let mut at = 0;
    loop {
        // The usual forms first, `140` and `"XS"` with a comma or line end behind; all others in full.
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
                && !SPECIAL[usize::from(byte)]
            {
                at += 1;
            }
            end = at;
        }
        let behind = bytes.get(at);
        if at <= bytes.len() && matches!(behind, None | Some(b',' | b'\n')) {
            fields.push(start + usize::from(form == Form::Quoted), end, form);
        } else {
            at = scan_in_full(bytes, start, fields);
        }
        match bytes.get(at) {
            Some(b',') if going_on(fields) => at += 1,
            _ => return at,
        }
    }
}

/// The field at `field_start`, whatever its form. Gives the index of the comma or `\n` behind it, or the length.
#[inline(never)]
fn scan_in_full(bytes: &[u8], field_start: usize, fields: &mut Fields) -> usize {
    let mut at = field_start;
    while at < bytes.len() && is_space(bytes[at]) {
        at += 1;
    }
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
                let end = without_carriage_return(bytes, start, bytes.len());
                fields.push(start, end, Form::Open { escaped });
                return bytes.len();
            }
        }
    };
    let form = if escaped { Form::Escaped } else { Form::Quoted };
    let mut at = close + 1;
    while at < bytes.len() && is_space(bytes[at]) {
        at += 1;
    }
    let spaces_end = at;
    if bytes.get(at) == Some(&b'\r') && matches!(bytes.get(at + 1), None | Some(b'\n')) {
        at += 1;
    }
    if !matches!(bytes.get(at), None | Some(b',' | b'\n')) {
        return scan_ragged(bytes, at, field_start, fields);
    }
    fields.spaced |= spaces_end > close + 1;
    fields.push(start, close, form);
    at
}

/// A field without quotes, its leading spaces already passed.
fn scan_bare(bytes: &[u8], start: usize, field_start: usize, fields: &mut Fields) -> usize {
    let mut at = start;
    while at < bytes.len() {
        match bytes[at] {
            b',' | b'\n' => break,
            b'"' => return scan_ragged(bytes, at, field_start, fields),
            _ => at += 1,
        }
    }
    let mut end = at;
    if bytes.get(at) != Some(&b',') {
        end = without_carriage_return(bytes, start, end);
    }
    let line_end = end;
    while end > start && is_space(bytes[end - 1]) {
        end -= 1;
    }
    fields.spaced |= start > field_start || end < line_end;
    fields.push(start, end, Form::Bare);
    at
}

/// A field that is not CSV: goes on to the next comma or line end, whatever stands between.
#[cold]
fn scan_ragged(bytes: &[u8], from: usize, field_start: usize, fields: &mut Fields) -> usize {
    let at = bytes[from..]
        .iter()
        .position(|&byte| byte == b',' || byte == b'\n')
        .map_or(bytes.len(), |found| from + found);
    fields.ragged = true;
    fields.push(field_start, without_carriage_return(bytes, field_start, at), Form::Ragged);
    at
}

fn without_carriage_return(bytes: &[u8], start: usize, end: usize) -> usize {
    if end > start && bytes[end - 1] == b'\r' { end - 1 } else { end }
}

/// What a whole record of a file looks like: enough to tell whether a line is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Fields in a record.
    pub fields: usize,
    /// Indices of the fields that hold ids.
    pub ids: Vec<usize>,
}

impl Shape {
    /// Whether `line` is a whole record by itself: the right number of fields, integers where the ids stand.
    /// It may lack its own last quote.
    fn fits(&self, line: &[u8], fields: &mut Fields) -> bool {
        scan(line, fields);
        !fields.ragged
            && fields.count() == self.fields
            && self.ids.iter().all(|&id| {
                fields.kept().get(id).is_some_and(|field| {
                    let text = field.of(line);
                    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
                })
            })
    }
}

/// Where a record ends. Indices count from the start of the bytes looked at; `end` is the `\n`, or the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// At the end of its first line, every quote closed there or the record beyond help.
    Line(usize),
    /// At the end of its first line, where the quote that is still open is to be closed.
    Unterminated(usize),
    /// At the end of a later line: a quoted field holds real line ends.
    Later(usize),
    /// The bytes end too soon to tell.
    Unknown,
}

/// Finds the end of the record at the start of `bytes`. `complete` says that nothing follows `bytes`, or
/// nothing that may belong to this record.
///
/// A quote that is open at the end of its line counts as unterminated when the very next line is a whole record
/// by itself, or when reading on does not end in a strict record of the right number of fields within
/// [`MAX_RECORD_BYTES`]. So one bad quote costs one line, never its neighbours.
///
/// Looking at a shorter piece of the same input, if it was cut behind a record, gives the same answer: what
/// ended a record in the longer piece stands in the shorter one too, and what did not is not in either.
pub fn ending(bytes: &[u8], complete: bool, shape: &Shape, fields: &mut Fields) -> Ending {
    let Some(line_end) = memchr(b'\n', bytes).or(complete.then_some(bytes.len())) else {
        return Ending::Unknown;
    };
    if line_end > MAX_RECORD_BYTES {
        return Ending::Line(line_end);
    }
    let line = &bytes[..line_end];
    // Closed quotes come in pairs, doubled ones too.
    if memchr_iter(b'"', line).count().is_multiple_of(2) {
        return Ending::Line(line_end);
    }
    scan(line, fields);
    if !fields.open || fields.ragged {
        return Ending::Line(line_end);
    }
    open_ending(bytes, line_end, complete, shape, fields)
}

/// [`ending`] for a record whose last quote is open at the end of its first line.
#[cold]
pub fn open_ending(
    bytes: &[u8],
    line_end: usize,
    complete: bool,
    shape: &Shape,
    fields: &mut Fields,
) -> Ending {
    // The longest record, and the line end that shows that it is no longer.
    let window = &bytes[..bytes.len().min(MAX_RECORD_BYTES + 1)];
    let undecided = !complete && window.len() <= MAX_RECORD_BYTES;
    let next = window.get(line_end + 1..).unwrap_or_default();
    match memchr(b'\n', next) {
        Some(end) if shape.fits(&next[..end], fields) => return Ending::Unterminated(line_end),
        Some(_) => {}
        None if undecided => return Ending::Unknown,
        // Nothing follows within the window: what there is may be the file's last line.
        None if complete && window.len() == bytes.len() && shape.fits(next, fields) => {
            return Ending::Unterminated(line_end);
        }
        None => {}
    }
    // No further than it takes to see that it leads nowhere: a file may have an open quote in every line.
    let end = scan_while(window, fields, |fields| !fields.ragged && fields.count <= shape.fields);
    let at_edge = end == window.len();
    if at_edge && undecided && !fields.ragged {
        return Ending::Unknown;
    }
    // The end of the input ends a record, the window's edge does not.
    let ended = !at_edge || (complete && window.len() == bytes.len());
    if ended && fields.strict() && fields.count() == shape.fields {
        Ending::Later(end)
    } else {
        Ending::Unterminated(line_end)
    }
}
