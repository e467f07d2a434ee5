//! A field → the value of its column, or why it has none. No I/O.

use atelier_base::tables::{Column, ColumnKind};

use crate::csv::excerpt::excerpt;
use crate::csv::record::{Field, Form};
use crate::rows::defect::{Fault, Repair, Repairs};
use crate::rows::number::{integer, price};

/// Ready to be encoded.
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
    /// `text`, as it is.
    Text(&'a [u8]),
    /// `text` in which every quote is doubled.
    Escaped(&'a [u8]),
}

/// Why a row is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub struct RowError {
    /// The column at fault, or empty where it is the row as a whole.
    pub column: &'static str,
    pub fault: Fault,
    /// Why, for people.
    pub message: String,
}

/// Reads the fields of one record, and notes the row's own id and its repairs.
pub(crate) struct FieldReader<'a, 'row> {
    pub(crate) raw: &'a [u8],
    /// `raw` is known to be UTF-8 without NUL.
    pub(crate) clean: bool,
    pub(crate) id: &'row mut u32,
    pub(crate) repairs: &'row mut Repairs,
}

impl<'a> FieldReader<'a, '_> {
    /// Reads one field into `value`. (To return the value in a `Result` would copy it twice, a fifth of the time of a row
    /// of short fields.)
    #[inline]
    pub(crate) fn read(
        &mut self,
        field: Field,
        column: &Column,
        value: &mut Value<'a>,
    ) -> Result<(), RowError> {
        let text = field.of(self.raw);
        let (may_be_null, may_be_empty) = match column.kind {
            ColumnKind::Text { empty, null } => (null, empty),
            ColumnKind::Price { null } => (null, false),
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
            ColumnKind::Text { .. } => {
                if !self.clean && (text.contains(&0) || simdutf8::basic::from_utf8(text).is_err()) {
                    return Err(bad_encoding(column, text));
                }
                *value = match field.form {
                    Form::Escaped | Form::Open { escaped: true } => Value::Escaped(text),
                    _ => Value::Text(text),
                };
            }
            ColumnKind::Price { .. } => {
                let Some((cents, repaired)) = price(text, field.form, column.headers) else {
                    let what = "not a price from 0 to 9999999999.99 with at most two decimals";
                    return Err(row_error(column, Fault::BadPrice, text, what));
                };
                self.repairs.add_if(repaired, Repair::PriceFormat);
                *value = Value::Cents(cents);
            }
            ColumnKind::Boolean => {
                *value = match text {
                    b"0" | b"f" | b"false" => Value::Boolean(false),
                    b"1" | b"t" | b"true" => Value::Boolean(true),
                    _ => {
                        let what = "not 0, 1, t, f, true or false";
                        return Err(row_error(column, Fault::BadBoolean, text, what));
                    }
                }
            }
            ColumnKind::Id => {
                let Some(id @ 1..) = integer(text) else {
                    let what = "not an integer from 1 to 2147483647";
                    return Err(row_error(column, Fault::BadInteger, text, what));
                };
                *self.id = id.unsigned_abs();
                *value = Value::Integer(id);
            }
            ColumnKind::Parent(_) | ColumnKind::Integer => {
                let Some(integer) = integer(text) else {
                    let what = "not an integer from -2147483648 to 2147483647";
                    return Err(row_error(column, Fault::BadInteger, text, what));
                };
                *value = Value::Integer(integer);
            }
        }
        Ok(())
    }
}

#[cold]
fn missing(column: &Column, what: &str) -> RowError {
    let message = format!("{what}, but the column needs a value");
    RowError { column: column.name, fault: Fault::MissingValue, message }
}

#[cold]
fn bad_encoding(column: &Column, text: &[u8]) -> RowError {
    let what = if text.contains(&0) { "it contains a NUL byte" } else { "not UTF-8" };
    row_error(column, Fault::BadEncoding, text, what)
}

#[cold]
pub(crate) fn row_error(column: &Column, fault: Fault, text: &[u8], what: &str) -> RowError {
    RowError { column: column.name, fault, message: format!("{what}: {}", excerpt(text)) }
}
