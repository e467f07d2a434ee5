//! The first line of a file: which field holds which column.

use atelier_base::error::{Error, Result};

use crate::record::{Fields, Form, Shape, scan};
use crate::tables::{Kind, Table};

/// Where the columns of a table stand in the records of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// For each column of the table, in its order, the index of its field.
    pub fields: Vec<usize>,
    /// What a whole record looks like.
    pub shape: Shape,
    /// Spaces stood around a name.
    pub spaced: bool,
    /// Names of fields that no column wants. They are read over.
    pub unknown: Vec<String>,
}

/// Reads the header `line` (without byte order mark) of `table`'s file. `file` is for messages only.
pub fn layout(line: &[u8], table: &Table, file: &str) -> Result<Layout> {
    let wrong = |what: String| {
        let expected: Vec<&str> = table.columns.iter().map(|column| column.headers[0]).collect();
        Error::input(format!("{file}, line 1: {what}")).hint(format!(
            "the header of {} is {}, in any order",
            table.name,
            expected.join(",")
        ))
    };
    let mut fields = Fields::default();
    scan(line, &mut fields);
    if fields.ragged || fields.open || fields.count() > fields.kept().len() {
        return Err(wrong("this is not a header".into()));
    }
    let mut spaced = fields.spaced;
    let names: Vec<String> = fields
        .kept()
        .iter()
        .map(|field| {
            let text = String::from_utf8_lossy(field.of(line));
            spaced |= field.form != Form::Bare && text.trim() != text;
            text.trim().to_owned()
        })
        .collect();

    let mut places = Vec::with_capacity(table.columns.len());
    for column in table.columns {
        let mut found = (0..names.len())
            .filter(|&index| column.headers.iter().any(|header| header.eq_ignore_ascii_case(&names[index])));
        match (found.next(), found.next()) {
            (Some(index), None) => places.push(index),
            (Some(_), Some(_)) => {
                return Err(wrong(format!("the column \"{}\" stands twice", column.headers[0])));
            }
            (None, _) => {
                return Err(wrong(format!(
                    "no column \"{}\" (found: {})",
                    column.headers[0],
                    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
                )));
            }
        }
    }
    let ids = table
        .columns
        .iter()
        .zip(&places)
        .filter(|(column, _)| matches!(column.kind, Kind::Id | Kind::Parent(_)))
        .map(|(_, &place)| place)
        .collect();
    let unknown = (0..names.len()).filter(|index| !places.contains(index)).map(|index| names[index].clone());
    Ok(Layout {
        unknown: unknown.collect(),
        shape: Shape { fields: names.len(), ids },
        fields: places,
        spaced,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::TableId;

    #[test]
    fn finds_columns_under_any_name_order_and_spacing() {
        let related = TableId::Related.table();
        let read = |line: &str| layout(line.as_bytes(), related, "related.csv");
        let usual = read("id,current_product_id,related_product_id").unwrap();
        assert_eq!(
            (&usual.fields[..], &usual.shape.ids[..], usual.spaced),
            (&[0, 1, 2][..], &[0, 1, 2][..], false)
        );

        let other = read("related_product_id, \"productId\" ,note,ID\r").unwrap();
        assert_eq!(other.fields, [3, 1, 0]);
        assert_eq!(other.shape.fields, 4);
        assert_eq!(other.unknown, ["note"]);
        assert!(other.spaced);
    }

    #[test]
    fn says_what_is_missing_or_double() {
        let styles = TableId::Styles.table();
        for (line, expected) in [
            ("id,productId,name,sale_price,default_style", "no column \"original_price\""),
            (
                "id,productId,product_id,name,sale_price,original_price,default_style",
                "\"productId\" stands twice",
            ),
            ("\"id,productId", "not a header"),
        ] {
            let message = layout(line.as_bytes(), styles, "styles.csv").unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("styles.csv, line 1"), "{message}");
        }
    }
}
