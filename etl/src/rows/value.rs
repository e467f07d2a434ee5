//! A field → the value of its column, or why not. Knows what columns hold; no I/O.

use crate::csv::excerpt::excerpt;
use crate::csv::record::{Field, Form};
use crate::rows::defect::{Fault, Repair};
use crate::rows::number::{integer, price};
use atelier_base::tables::{Column, Kind};

/// A value ready to be encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Value<'a> {
    /// SQL null.
    #[default]
    Null,
    /// `int`.
    Integer(i32),
    /// `numeric(12,2)` in hundredths.
    Cents(u64),
    /// `boolean`.
    Boolean(bool),
    /// `text`, as it stands.
    Text(&'a [u8]),
    /// `text` in which every quote stands twice.
    Escaped(&'a [u8]),
}

/// Why a row is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The column at fault, or empty.
    pub column: &'static str,
    /// The code.
    pub fault: Fault,
    /// The same for people.
    pub message: String,
}

/// Reads one field into `value`. Notes the row's own id and what was repaired. (Handing the value back in a `Result`
/// would copy it twice, a fifth of the time of a row of short fields.)
#[inline]
pub(crate) fn read<'a>(
    raw: &'a [u8],
    field: Field,
    column: &Column,
    clean: bool,
    value: &mut Value<'a>,
    row_id: &mut u32,
    repairs: &mut [bool; 3],
) -> Result<(), Refusal> {
    let text = field.of(raw);
    let (may_be_null, may_be_empty) = match column.kind {
        Kind::Text { empty, null } => (null, empty),
        Kind::Price { null } => (null, false),
        _ => (false, false),
    };
    // COPY writes null as nothing.
    if field.form == Form::Bare && (text == b"null" || text.is_empty() && may_be_null) {
        *value = Value::Null;
        return if may_be_null { Ok(()) } else { Err(missing(column, "null")) };
    }
    if text.is_empty() && !may_be_empty {
        return Err(missing(column, "empty"));
    }
    match column.kind {
        Kind::Text { .. } => {
            if !clean && (text.contains(&0) || simdutf8::basic::from_utf8(text).is_err()) {
                return Err(bad_encoding(column, text));
            }
            *value = match field.form {
                Form::Escaped | Form::Open { escaped: true } => Value::Escaped(text),
                _ => Value::Text(text),
            };
        }
        Kind::Price { .. } => {
            let Some((cents, repaired)) = price(text, field.form, column.headers) else {
                let what = "not a price from 0 to 9999999999.99 with at most two decimals";
                return Err(refusal(column, Fault::BadPrice, text, what));
            };
            repairs[Repair::PriceFormat as usize] |= repaired;
            *value = Value::Cents(cents);
        }
        Kind::Boolean => {
            *value = match text {
                b"0" | b"f" | b"false" => Value::Boolean(false),
                b"1" | b"t" | b"true" => Value::Boolean(true),
                _ => return Err(refusal(column, Fault::BadBoolean, text, "not 0, 1, t, f, true or false")),
            }
        }
        Kind::Id => {
            let Some(id @ 1..) = integer(text) else {
                return Err(refusal(column, Fault::BadInteger, text, "not an integer from 1 to 2147483647"));
            };
            *row_id = id.unsigned_abs();
            *value = Value::Integer(id);
        }
        Kind::Parent(_) | Kind::Integer => {
            let Some(integer) = integer(text) else {
                let what = "not an integer from -2147483648 to 2147483647";
                return Err(refusal(column, Fault::BadInteger, text, what));
            };
            *value = Value::Integer(integer);
        }
    }
    Ok(())
}

#[cold]
fn missing(column: &Column, what: &str) -> Refusal {
    let message = format!("{what}, but the column needs a value");
    Refusal { column: column.name, fault: Fault::MissingValue, message }
}

#[cold]
fn bad_encoding(column: &Column, text: &[u8]) -> Refusal {
    let what = if text.contains(&0) { "it holds a NUL byte" } else { "not UTF-8" };
    refusal(column, Fault::BadEncoding, text, what)
}

#[cold]
pub(crate) fn refusal(column: &Column, fault: Fault, text: &[u8], what: &str) -> Refusal {
    Refusal { column: column.name, fault, message: format!("{what}: {}", excerpt(text)) }
}
