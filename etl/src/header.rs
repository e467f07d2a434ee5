//! The first line of a file: which field holds which column.

use atelier_base::error::{Error, Result};

use crate::excerpt::excerpt;
use crate::record::{Field, Fields, Form, MAX_FIELDS, Shape, scan};
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
    if [b"\xff\xfe", b"\xfe\xff"].iter().any(|mark| line.starts_with(*mark)) {
        return Err(Error::input(format!("{file}, line 1: this is UTF-16")).hint("write the file in UTF-8"));
    }
    // What is read as one line is all of the file then.
    let of_cr = || {
        Error::input(format!("{file}, line 1: the lines end in CR alone"))
            .hint("write the file with LF or CRLF line ends")
    };
    let wrong = |what: String| {
        if line.trim_ascii_end().contains(&b'\r') {
            return of_cr();
        }
        Error::input(format!("{file}, line 1: {what}")).hint(format!(
            "the header of {} is {}, in any order",
            table.name,
            table.header()
        ))
    };
    let mut fields = Fields::default();
    scan(line, &mut fields);
    if fields.ragged || fields.open {
        return Err(wrong(format!("this is not a header: {}", excerpt(line))));
    }
    if fields.count() > MAX_FIELDS {
        return Err(wrong(format!(
            "{} columns, where at most {MAX_FIELDS} columns are read",
            fields.count()
        )));
    }
    let is_two_lines =
        |field: &Field| field.form == Form::Bare && field.of(line).trim_ascii().contains(&b'\r');
    if fields.kept().iter().any(is_two_lines) {
        return Err(of_cr());
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
                    names
                        .iter()
                        .map(|name| format!("\"{}\"", excerpt(name.as_bytes())))
                        .collect::<Vec<_>>()
                        .join(", ")
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
            ("\"id,productId", "not a header: \"id,productId"),
        ] {
            let message = layout(line.as_bytes(), styles, "styles.csv").unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("styles.csv, line 1"), "{message}");
        }
    }

    #[test]
    fn says_in_a_few_words_what_is_no_csv_of_ours() {
        let related = TableId::Related.table();
        let header = "id,current_product_id,related_product_id";
        let utf_16 = |mark: &[u8], bytes: fn(u16) -> [u8; 2]| {
            [mark, &header.encode_utf16().flat_map(bytes).collect::<Vec<_>>()].concat()
        };
        let not_of_cr = "write the file with LF or CRLF";
        for (line, expected, to_do) in [
            (utf_16(b"\xff\xfe", u16::to_le_bytes), "this is UTF-16", "in UTF-8"),
            (utf_16(b"\xfe\xff", u16::to_be_bytes), "this is UTF-16", "in UTF-8"),
            (format!("{header}\r1,2,3\r").into(), "the lines end in CR alone", not_of_cr),
            (format!("\"id\"\r{}", "1,2,3\r".repeat(9)).into(), "the lines end in CR alone", not_of_cr),
            // All columns are there, the last of the first line is unknown.
            (format!("{header},note\r1,2,3,a\r").into(), "the lines end in CR alone", not_of_cr),
            (
                format!("{header}{}", ",note".repeat(14)).into(),
                "17 columns, where at most 16 columns are read",
                header,
            ),
            ([b"id,", &[b'x'; 60_000][..]].concat(), "\"xxxx", header),
            ([b"id,\"", &[b'x'; 60_000][..]].concat(), "not a header: id,\"xxxx", header),
        ] {
            let message = layout(&line, related, "related.csv").unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains(to_do), "{message}");
            assert!(message.contains("related.csv, line 1") && message.len() < 300, "{message}");
        }
        // As many columns as may be.
        let most = layout(format!("{header}{}", ",note".repeat(13)).as_bytes(), related, "related.csv");
        assert_eq!(most.unwrap().shape.fields, 16);
        // A stray CR that stands beside a name, or in a name in quotes, is not a line end.
        let stray = layout(format!("{header}\r,\"a\rb\"").as_bytes(), related, "related.csv");
        assert_eq!(stray.unwrap().unknown, ["a\rb"]);
    }
}
