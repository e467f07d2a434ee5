//! The fields of a record → a row of the table, or why it is rejected. Knows the columns and the parents' ids. No I/O.

use std::sync::Arc;

use atelier_base::tables::{Column, ColumnKind, MAX_COLUMNS, Table, TableId};
use roaring::RoaringBitmap;

use crate::csv::excerpt::excerpt;
use crate::csv::layout::Layout;
use crate::csv::record::{Field, Fields, Form};
use crate::rows::defect::{Fault, Repair, Repairs};
use crate::rows::number::price;
use crate::rows::value::{FieldReader, RowError, Value, row_error};

/// A row that is valid, as far as that can be known without the rows before it: its id may be a duplicate.
#[derive(Debug, Default)]
pub struct Row<'a> {
    /// In the order of the table's columns.
    pub values: [Value<'a>; MAX_COLUMNS],
    pub id: u32,
    pub repairs: Repairs,
    /// The last parent found in each column: files are clustered by parent, so that the next is often the same.
    last_parents: [i32; MAX_COLUMNS],
}

/// Validates the rows of one file.
#[derive(Debug)]
pub struct Validator {
    table: &'static Table,
    layout: Layout,
    /// Indices of the columns that point at a parent, each with the ids of that table.
    parents: Vec<(usize, TableId, Arc<RoaringBitmap>)>,
}

impl Validator {
    /// `parents` returns the accepted ids of a table.
    pub fn new(
        table: &'static Table,
        layout: Layout,
        parents: impl Fn(TableId) -> Arc<RoaringBitmap>,
    ) -> Validator {
        let columns = table.columns.iter().enumerate();
        let parents = columns.filter_map(|(index, column)| match column.kind {
            ColumnKind::Parent(parent) => Some((index, parent, parents(parent))),
            _ => None,
        });
        Validator { table, layout, parents: parents.collect() }
    }

    pub fn table(&self) -> &'static Table {
        self.table
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Validates the record `raw` with its `fields` and fills `row`. `clean` means that the bytes around it are known to be
    /// UTF-8 without NUL. One fault is reported, the first of: a malformed field, the number of fields, the columns of the
    /// table in their order, a missing parent.
    #[inline]
    pub fn validate<'a>(
        &self,
        raw: &'a [u8],
        fields: &Fields,
        clean: bool,
        row: &mut Row<'a>,
    ) -> Result<(), RowError> {
        row.repairs = Repairs::default();
        row.repairs.add_if(fields.open, Repair::UnterminatedQuote);
        row.repairs.add_if(fields.spaced, Repair::Spacing);
        if fields.malformed {
            self.expect_csv(raw, fields)?;
        }
        if fields.count() != self.layout.shape.fields {
            return Err(self.field_count(fields));
        }
        let mut reader = FieldReader { raw, clean, id: &mut row.id, repairs: &mut row.repairs };
        let columns = self.table.columns.iter().zip(&self.layout.fields).zip(&mut row.values);
        for ((column, &place), value) in columns {
            let mut field = fields.kept()[place];
            if fields.padded {
                field = self.with_spaces(raw, field, column, reader.repairs);
            }
            if self.layout.copied && field.form == Form::Bare && field.of(raw) == b"null" {
                field.form = Form::Quoted;
            }
            reader.read(field, column, value)?;
        }
        for (index, parent, ids) in &self.parents {
            let Value::Integer(id) = row.values[*index] else { continue };
            if id == row.last_parents[*index] && id != 0 {
                continue;
            }
            if !u32::try_from(id).is_ok_and(|id| ids.contains(id)) {
                return Err(RowError {
                    column: self.table.columns[*index].name,
                    fault: Fault::Orphan,
                    message: format!("no row of {} has the id {id}, or it was rejected", parent.table().name),
                });
            }
            row.last_parents[*index] = id;
        }
        Ok(())
    }

    /// A bare field, with the spaces around it if they are part of it. RFC 4180 has spaces as part of a field, and COPY
    /// writes text that begins or ends with spaces so. They are only spacing where the column is not text, and in a file
    /// that has spaces around the names in its header, since those were added around all fields.
    #[cold]
    fn with_spaces(&self, raw: &[u8], field: Field, column: &Column, repairs: &mut Repairs) -> Field {
        let whole = field.with_spaces(raw, self.layout.shape.delimiter);
        if field.form != Form::Bare || whole == field {
            return field;
        }
        let is_null = |null| null && field.of(raw) == b"null";
        match column.kind {
            ColumnKind::Text { null, .. } if !self.layout.spaced && !is_null(null) => whole,
            _ => {
                repairs.add_if(true, Repair::Spacing);
                field
            }
        }
    }

    /// Fails for a malformed field, unless a price can be read from it.
    #[cold]
    fn expect_csv(&self, raw: &[u8], fields: &Fields) -> Result<(), RowError> {
        for (place, field) in fields.kept().iter().enumerate() {
            if field.form != Form::Malformed {
                continue;
            }
            let text = field.of(raw);
            let column = self.layout.fields.iter().position(|&index| index == place);
            match column.map(|index| &self.table.columns[index]) {
                Some(column)
                    if matches!(column.kind, ColumnKind::Price { .. })
                        && price(text, field.form, column.headers).is_some() => {}
                Some(column) => {
                    return Err(row_error(column, Fault::BadQuote, text, malformed(text)));
                }
                None => {
                    let message = format!("{}: {}", malformed(text), excerpt(text));
                    return Err(RowError { column: "", fault: Fault::BadQuote, message });
                }
            }
        }
        Ok(())
    }

    #[cold]
    fn field_count(&self, fields: &Fields) -> RowError {
        let (found, expected) = (fields.count(), self.layout.shape.fields);
        RowError {
            column: "",
            fault: Fault::FieldCount,
            message: format!(
                "{found} field{} where the header has {expected}",
                if found == 1 { "" } else { "s" }
            ),
        }
    }
}

#[cold]
fn malformed(text: &[u8]) -> &'static str {
    match text.contains(&b'"') {
        true => "a quote in the middle, or text after a closing one",
        false => "a carriage return outside quotes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::layout::layout;
    use crate::csv::record::scan;

    /// The values and repairs of a line, or the column and the fault.
    type Validated = Result<(Vec<String>, Vec<Repair>), (&'static str, Fault)>;

    fn validate(table: TableId, line: &str) -> Validated {
        let table = table.table();
        let header: Vec<&str> = table.columns.iter().map(|column| column.headers[0]).collect();
        let layout = layout(header.join(",").as_bytes(), None, table, "x.csv").unwrap();
        let ids = Arc::new(RoaringBitmap::from_iter(1..=9));
        let validator = Validator::new(table, layout, |_| Arc::clone(&ids));
        let (mut fields, mut row) = (Fields::default(), Row::default());
        let line = line.as_bytes();
        scan(line, &mut fields);
        let result = validator.validate(line, &fields, false, &mut row);
        match result {
            Ok(()) => {
                let values = row.values[..table.columns.len()].iter().map(|value| format!("{value:?}"));
                Ok((values.collect(), row.repairs.iter().collect()))
            }
            Err(row_error) => Err((row_error.column, row_error.fault)),
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
            ("9999999999.99", Some((999_999_999_999, false))),
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
            let found = validate(TableId::Product, &format!("1,\"n\",\"s\",\"d\",\"c\",{text}"));
            match expected {
                Some((cents, repaired)) => {
                    let (values, repairs) = found.unwrap();
                    assert_eq!(values[5], format!("Cents({cents})"), "{text}");
                    let expected = repaired.then_some(Repair::PriceFormat);
                    assert_eq!(repairs, Vec::from_iter(expected), "{text}");
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
            (Skus, "1,2,X\rS,3", "size", Fault::BadQuote),
            (Skus, "1\r,2,\"XS\",3", "id", Fault::BadQuote),
            (Features, "1,2,\"Fabric\",\"\"", "value", Fault::MissingValue),
            (Styles, "1,2,\"Red\",null,,1", "original_price", Fault::MissingValue),
            (Skus, "null,2,\"XS\",3", "id", Fault::MissingValue),
            (Skus, "1,2,null,3", "size", Fault::MissingValue),
            (Skus, "1,2,\"\",3", "size", Fault::MissingValue),
            (Skus, "1,2,\"X\0S\",3", "size", Fault::BadEncoding),
            (Skus, "1,10,\"XS\",3", "style_id", Fault::Orphan),
            (Skus, "1,-1,\"XS\",3", "style_id", Fault::Orphan),
            (Related, "1,1,0", "related_product_id", Fault::Orphan),
            (Styles, "1,2,\"Red\",null,140,2", "default_style", Fault::BadBoolean),
            (Styles, "1,2,\"Red\",null,null,1", "original_price", Fault::MissingValue),
            // Several faults: which one is named.
            (Skus, "x,10,\"XS\"x", "size", Fault::BadQuote),
            (Skus, "x,10,\"XS\"", "", Fault::FieldCount),
            (Skus, "1,10,null,many", "size", Fault::MissingValue),
            (Skus, "1,10,\"XS\",many", "quantity", Fault::BadInteger),
            (Related, "1,10,11", "product_id", Fault::Orphan),
        ];
        for (table, line, column, fault) in cases {
            assert_eq!(validate(table, line).unwrap_err(), (column, fault), "{line}");
        }
    }

    #[test]
    fn values_are_taken_as_they_are() {
        let (values, repairs) = validate(TableId::Skus, "1, 2 , \"XS\" ,-3").unwrap();
        assert_eq!(values, ["Integer(1)", "Integer(2)", "Text([88, 83])", "Integer(-3)"]);
        assert_eq!(repairs, [Repair::Spacing]);
        for null in ["null", "", " null"] {
            let (values, repairs) = validate(TableId::Features, &format!("1,2,\"null\",{null}")).unwrap();
            assert_eq!(values[2..], ["Text([110, 117, 108, 108])", "Null"]);
            assert_eq!(repairs, if null.starts_with(' ') { vec![Repair::Spacing] } else { vec![] });
        }
        // Spaces around a bare text are its own, as COPY writes them.
        let (values, repairs) = validate(TableId::Features, "1,2,  a\t,  ").unwrap();
        assert_eq!(values[2..], ["Text([32, 32, 97, 9])", "Text([32, 32])"]);
        assert_eq!(repairs, []);
        for (text, expected) in
            [("0", false), ("f", false), ("false", false), ("1", true), ("t", true), ("\"true\"", true)]
        {
            let (values, _) = validate(TableId::Styles, &format!("1,2,Red,,140,{text}")).unwrap();
            assert_eq!(
                values[3..],
                ["Null".to_owned(), "Cents(14000)".to_owned(), format!("Boolean({expected})")]
            );
        }
        let (values, _) = validate(TableId::Features, "\"1\",2,\"a\"\"b\",\" \"").unwrap();
        assert_eq!(values[2..], ["Escaped([97, 34, 34, 98])", "Text([32])"]);
    }
}
