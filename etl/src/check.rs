//! Fields → values of the table's columns, or why not. Knows the columns and the parents' ids; no I/O.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::defect::{Fault, Repair};
use crate::header::Layout;
use crate::record::{Field, Fields, Form};
use crate::tables::{Column, Kind, Table, TableId};

/// The largest price that `numeric(12,2)` holds, in cents.
const MAX_CENTS: u64 = 999_999_999_999;

/// Values of a row: no table has more columns.
pub const MAX_COLUMNS: usize = 6;

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

/// A row that passed every check but that of its id's uniqueness, which needs the rows before it.
#[derive(Debug, Default)]
pub struct Row<'a> {
    /// A value for each column of the table, in its order.
    pub values: [Value<'a>; MAX_COLUMNS],
    /// Its id.
    pub id: u32,
    /// What was mended, one flag for each [`Repair`].
    pub repairs: [bool; 3],
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

/// Checks the rows of one file.
#[derive(Debug)]
pub struct Checker {
    table: &'static Table,
    layout: Layout,
    /// For each column that names a parent, the parent's ids; `None` for other columns.
    parents: [Option<(TableId, Arc<RoaringBitmap>)>; MAX_COLUMNS],
}

impl Checker {
    /// `parents` gives the accepted ids of a table.
    pub fn new(
        table: &'static Table,
        layout: Layout,
        parents: impl Fn(TableId) -> Arc<RoaringBitmap>,
    ) -> Checker {
        let mut ids = [const { None }; MAX_COLUMNS];
        for (slot, column) in ids.iter_mut().zip(table.columns) {
            if let Kind::Parent(parent) = column.kind {
                *slot = Some((parent, parents(parent)));
            }
        }
        Checker { table, layout, parents: ids }
    }

    /// The table whose rows are checked.
    pub fn table(&self) -> &'static Table {
        self.table
    }

    /// Where its columns stand.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Checks the record `raw` with its `fields` and fills `row`. `clean` says that the bytes around it are known
    /// to be UTF-8 without NUL. The first fault from the left is the one named, faults of the whole record first,
    /// a missing parent last.
    #[inline]
    pub fn check<'a>(
        &self,
        raw: &'a [u8],
        fields: &Fields,
        clean: bool,
        row: &mut Row<'a>,
    ) -> Result<(), Refusal> {
        row.repairs = [fields.open, false, fields.spaced];
        if fields.ragged {
            self.refuse_ragged(raw, fields)?;
        }
        if fields.count() != self.layout.shape.fields {
            return Err(self.refuse_count(fields));
        }
        for (index, column) in self.table.columns.iter().enumerate() {
            let field = fields.kept()[self.layout.fields[index]];
            row.values[index] = self.value(raw, field, column, clean, row)?;
        }
        for (index, parent) in self.parents.iter().enumerate() {
            if let (Some((parent, ids)), Value::Integer(id)) = (parent, row.values[index])
                && !u32::try_from(id).is_ok_and(|id| ids.contains(id))
            {
                return Err(Refusal {
                    column: self.table.columns[index].name,
                    fault: Fault::Orphan,
                    message: format!("no row of {} has the id {id}, or it was rejected", parent.table().name),
                });
            }
        }
        Ok(())
    }

    #[inline]
    fn value<'a>(
        &self,
        raw: &'a [u8],
        field: Field,
        column: &Column,
        clean: bool,
        row: &mut Row<'a>,
    ) -> Result<Value<'a>, Refusal> {
        let text = &raw[field.start..field.end];
        let null = field.form == Form::Bare && text == b"null";
        match column.kind {
            Kind::Text { empty, null: nullable } => {
                if null {
                    return if nullable { Ok(Value::Null) } else { Err(missing(column, "null")) };
                }
                if text.is_empty() && !empty {
                    return Err(missing(column, "empty"));
                }
                if !clean && (text.contains(&0) || simdutf8::basic::from_utf8(text).is_err()) {
                    return Err(bad_encoding(column, text));
                }
                Ok(match field.form {
                    Form::Escaped | Form::Open { escaped: true } => Value::Escaped(text),
                    _ => Value::Text(text),
                })
            }
            Kind::Price { null: nullable } => {
                if null && nullable {
                    return Ok(Value::Null);
                }
                if null || text.is_empty() {
                    return Err(missing(column, if null { "null" } else { "empty" }));
                }
                let price = price(text, field.form, column);
                let (cents, repaired) = price.ok_or_else(|| {
                    refusal(
                        column,
                        Fault::BadPrice,
                        text,
                        "not a price from 0 to 9999999999.99 with at most two decimals",
                    )
                })?;
                row.repairs[Repair::PriceFormat as usize] |= repaired;
                Ok(Value::Cents(cents))
            }
            Kind::Id | Kind::Parent(_) | Kind::Integer | Kind::Boolean if null || text.is_empty() => {
                Err(missing(column, if null { "null" } else { "empty" }))
            }
            Kind::Boolean => match text {
                b"0" => Ok(Value::Boolean(false)),
                b"1" => Ok(Value::Boolean(true)),
                _ => Err(refusal(column, Fault::BadBoolean, text, "neither 0 nor 1")),
            },
            Kind::Id => match integer(text) {
                Some(id @ 1..) => {
                    row.id = id.unsigned_abs();
                    Ok(Value::Integer(id))
                }
                _ => Err(refusal(column, Fault::BadInteger, text, "not an integer from 1 to 2147483647")),
            },
            Kind::Parent(_) | Kind::Integer => integer(text).map(Value::Integer).ok_or_else(|| {
                refusal(column, Fault::BadInteger, text, "not an integer from -2147483648 to 2147483647")
            }),
        }
    }

    /// A ragged field is a fault, unless a price can be read out of it.
    #[cold]
    fn refuse_ragged(&self, raw: &[u8], fields: &Fields) -> Result<(), Refusal> {
        for (place, field) in fields.kept().iter().enumerate() {
            if field.form != Form::Ragged {
                continue;
            }
            let text = &raw[field.start..field.end];
            let column = self.layout.fields.iter().position(|&index| index == place);
            match column.map(|index| &self.table.columns[index]) {
                Some(column)
                    if matches!(column.kind, Kind::Price { .. })
                        && price(text, field.form, column).is_some() => {}
                Some(column) => {
                    return Err(refusal(
                        column,
                        Fault::BadQuote,
                        text,
                        "a quote in the middle, or text behind a closing one",
                    ));
                }
                None => {
                    let message = "a quote in the middle of a field, or text behind a closing one".into();
                    return Err(Refusal { column: "", fault: Fault::BadQuote, message });
                }
            }
        }
        Ok(())
    }

    #[cold]
    fn refuse_count(&self, fields: &Fields) -> Refusal {
        let (found, wanted) = (fields.count(), self.layout.shape.fields);
        Refusal {
            column: "",
            fault: Fault::FieldCount,
            message: format!(
                "{found} field{} where the header has {wanted}",
                if found == 1 { "" } else { "s" }
            ),
        }
    }
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
fn refusal(column: &Column, fault: Fault, text: &[u8], what: &str) -> Refusal {
    Refusal { column: column.name, fault, message: format!("{what}: {}", excerpt(text)) }
}

/// At most 40 characters of `text` that a terminal can show, the rest as `…`.
pub fn excerpt(text: &[u8]) -> String {
    let head = String::from_utf8_lossy(&text[..text.len().min(200)]);
    let mut characters = head.chars();
    let mut short = String::new();
    for character in characters.by_ref().take(40) {
        if character.is_control() {
            short.extend(character.escape_default());
        } else {
            short.push(character);
        }
    }
    if characters.next().is_some() || text.len() > 200 {
        short.push('…');
    }
    short
}

/// Decimal digits with an optional minus sign, in the range of `int`.
#[inline]
fn integer(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let value = i64::try_from(digits_value(digits)?).ok()?;
    i32::try_from(if negative { -value } else { value }).ok()
}

/// The value of one or more digits, up to 15 of them besides leading zeros.
#[inline]
fn digits_value(digits: &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 || value > 99_999_999_999_999 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    (!digits.is_empty()).then_some(value)
}

/// A price in cents, and whether its form had to be repaired. The forms that damaged copies have, and no others:
/// a number is never guessed.
#[inline]
fn price(text: &[u8], form: Form, column: &Column) -> Option<(u64, bool)> {
    match form {
        Form::Bare => match text.strip_prefix(b"$") {
            Some(amount) => Some((amount_cents(amount)?, true)),
            None => Some((amount_cents(text)?, false)),
        },
        Form::Quoted | Form::Open { escaped: false } => {
            let amount = text.trim_ascii();
            Some((amount_cents(amount.strip_prefix(b"$").unwrap_or(amount))?, true))
        }
        // "default_price": 49
        Form::Ragged => {
            let rest = text.strip_prefix(b"\"")?;
            let quote = rest.iter().position(|&byte| byte == b'"')?;
            let (name, rest) = (&rest[..quote], rest[quote + 1..].trim_ascii_start());
            let known = column.headers.iter().any(|header| header.as_bytes() == name);
            let amount = rest.strip_prefix(b":")?.trim_ascii();
            Some((amount_cents(amount).filter(|_| known)?, true))
        }
        Form::Escaped | Form::Open { escaped: true } => None,
    }
}

/// `140`, `140.5` or `140.50` in cents.
#[inline]
fn amount_cents(text: &[u8]) -> Option<u64> {
    let (whole, cents) = match text {
        [whole @ .., b'.', tenths] => (whole, digits_value(&[*tenths, b'0'])?),
        [whole @ .., b'.', tenths, hundredths] => (whole, digits_value(&[*tenths, *hundredths])?),
        _ => (text, 0),
    };
    let total = digits_value(whole)?.checked_mul(100)? + cents;
    (total <= MAX_CENTS).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::layout;
    use crate::record::scan;

    /// The values and repairs of a line, or the column and the fault.
    type Checked = Result<(Vec<String>, [bool; 3]), (&'static str, Fault)>;

    fn check(table: TableId, line: &str) -> Checked {
        let table = table.table();
        let header: Vec<&str> = table.columns.iter().map(|column| column.headers[0]).collect();
        let layout = layout(header.join(",").as_bytes(), table, "x.csv").unwrap();
        let ids = Arc::new(RoaringBitmap::from_iter(1..=9));
        let checker = Checker::new(table, layout, |_| Arc::clone(&ids));
        let (mut fields, mut row) = (Fields::default(), Row::default());
        let line = line.as_bytes();
        scan(line, &mut fields);
        let result = checker.check(line, &fields, false, &mut row);
        match result {
            Ok(()) => {
                let values = row.values[..table.columns.len()].iter().map(|value| format!("{value:?}"));
                Ok((values.collect(), row.repairs))
            }
            Err(refusal) => Err((refusal.column, refusal.fault)),
        }
    }

    #[test]
    fn prices() {
        let cases: &[(&str, Option<(u64, bool)>)] = &[
            ("140", Some((14_000, false))),
            ("0", Some((0, false))),
            ("140.5", Some((14_050, false))),
            ("586.07", Some((58_607, false))),
            ("500000000", Some((50_000_000_000, false))),
            ("9999999999.99", Some((MAX_CENTS, false))),
            ("10000000000", None),
            ("\"586.00\"", Some((58_600, true))),
            ("\"$818\"", Some((81_800, true))),
            ("$818", Some((81_800, true))),
            ("\"default_price\": 49", Some((4_900, true))),
            ("\"default_price\": $49", None),
            ("\"quantity\": 49", None),
            ("586.001", None),
            ("586.", None),
            (".50", None),
            ("-5", None),
            ("1e3", None),
            ("\"1,200\"", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in cases {
            let found = check(TableId::Product, &format!("1,\"n\",\"s\",\"d\",\"c\",{text}"));
            match expected {
                Some((cents, repaired)) => {
                    let (values, repairs) = found.unwrap();
                    assert_eq!(values[5], format!("Cents({cents})"), "{text}");
                    assert_eq!(repairs, [false, *repaired, false], "{text}");
                }
                None => assert_eq!(found.unwrap_err().0, "default_price", "{text}"),
            }
        }
    }

    #[test]
    fn each_fault_is_named_with_its_column() {
        use TableId::*;
        let cases = [
            (Skus, "1,2,\"XS\"", "", Fault::FieldCount),
            (Skus, "1,2,\"XS\",3,4", "", Fault::FieldCount),
            (Skus, "1,2,\"XS\"x,3", "size", Fault::BadQuote),
            (Skus, "1,2,X\"S,3", "size", Fault::BadQuote),
            (Skus, "0,2,\"XS\",3", "id", Fault::BadInteger),
            (Skus, "2147483648,2,\"XS\",3", "id", Fault::BadInteger),
            (Skus, "1,2,\"XS\",3.5", "quantity", Fault::BadInteger),
            (Skus, "1,2,\"XS\",+3", "quantity", Fault::BadInteger),
            (Skus, "1,2,\"XS\",", "quantity", Fault::MissingValue),
            (Skus, "null,2,\"XS\",3", "id", Fault::MissingValue),
            (Skus, "1,2,null,3", "size", Fault::MissingValue),
            (Skus, "1,2,\"\",3", "size", Fault::MissingValue),
            (Skus, "1,2,\"X\0S\",3", "size", Fault::BadEncoding),
            (Skus, "1,10,\"XS\",3", "style_id", Fault::Orphan),
            (Skus, "1,-1,\"XS\",3", "style_id", Fault::Orphan),
            (Related, "1,1,0", "related_product_id", Fault::Orphan),
            (Styles, "1,2,\"Red\",null,140,2", "default_style", Fault::BadBoolean),
            (Styles, "1,2,\"Red\",null,null,1", "original_price", Fault::MissingValue),
            (Features, "1,2,\"Fabric\",\"\"", "value", Fault::MissingValue),
        ];
        for (table, line, column, fault) in cases {
            assert_eq!(check(table, line).unwrap_err(), (column, fault), "{line}");
        }
    }

    #[test]
    fn values_are_taken_as_they_stand() {
        let (values, repairs) = check(TableId::Skus, "1, 2 , \"XS\" ,-3").unwrap();
        assert_eq!(values, ["Integer(1)", "Integer(2)", "Text([88, 83])", "Integer(-3)"]);
        assert_eq!(repairs, [false, false, true]);
        let (values, _) = check(TableId::Features, "1,2,\"null\",null").unwrap();
        assert_eq!(values[2..], ["Text([110, 117, 108, 108])", "Null"]);
        let (values, _) = check(TableId::Features, "\"1\",2,\"a\"\"b\",\" \"").unwrap();
        assert_eq!(values[2..], ["Escaped([97, 34, 34, 98])", "Text([32])"]);
    }
}
