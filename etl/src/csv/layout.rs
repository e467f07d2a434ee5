//! The names in the first line of a file → which field holds which column. No I/O.

use atelier_base::error::{Error, Result};
use atelier_base::tables::{Column, ColumnKind, Table};

use crate::csv::excerpt::excerpt;
use crate::csv::record::{Delimiter, Fields, Form, MAX_FIELDS, RecordShape, scan, without_carriage_returns};

/// Where the columns of a table are in the records of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// For each column of the table, in its order, the index of its field.
    pub fields: Vec<usize>,
    pub shape: RecordShape,
    /// There were spaces around a name, or surplus carriage returns at the line's end.
    pub repaired: bool,
    /// There were spaces between all names: then spaces around a bare text are not part of it.
    pub spaced: bool,
    /// The file has a column that only published tables have, so COPY wrote it: null is an empty field, and `null` a text.
    pub copied: bool,
    /// Names of fields that belong to no column. They are ignored.
    pub unknown: Vec<String>,
}

/// Reads the header `line` (without byte order mark) of `table`'s file. `place` is for messages only. The fields are
/// separated by `delimiter`, or if none is given by the one with which the line is a header.
pub fn layout(line: &[u8], delimiter: Option<Delimiter>, table: &Table, place: &str) -> Result<Layout> {
    let candidates = delimiter.as_ref().map_or(&Delimiter::ALL[..], std::slice::from_ref);
    let mut refused = Vec::new();
    for &delimiter in candidates {
        let header = HeaderLine::read(line, delimiter);
        match header.layout(table) {
            Ok(layout) => return Ok(layout),
            Err(_) if header.is_several_lines() => return Err(cr_line_ends(place)),
            Err(why) => refused.push((header.known_names(table), why)),
        }
    }
    // The one with which the line is most like a header; the usual delimiter if there are several.
    let closest = refused.into_iter().rev().max_by_key(|(known, _)| *known);
    let why = closest.map_or_else(String::new, |(_, why)| why);
    Err(Error::input(format!("{place}: {why}")).hint(format!(
        "the header of {} is {}, in any order",
        table.name,
        table.header()
    )))
}

/// Line ends of old Mac systems are not read.
pub(crate) fn cr_line_ends(place: &str) -> Error {
    Error::input(format!("{place}: the lines end in CR alone"))
        .hint("write the file with LF or CRLF line ends")
}

/// The first line, read with a delimiter.
struct HeaderLine<'a> {
    line: &'a [u8],
    delimiter: Delimiter,
    fields: Fields,
    names: Vec<String>,
}

impl HeaderLine<'_> {
    fn read(line: &[u8], delimiter: Delimiter) -> HeaderLine<'_> {
        let mut fields = Fields::new(delimiter);
        scan(line, &mut fields);
        let names = fields.kept().iter();
        let names = names.map(|field| String::from_utf8_lossy(field.of(line)).trim().to_owned()).collect();
        HeaderLine { line, delimiter, fields, names }
    }

    /// Whether there is white space in front of each name but the first.
    fn is_spaced(&self) -> bool {
        let separators = self.fields.kept().iter().skip(1).map(|field| {
            let quote = usize::from(field.form != Form::Bare);
            field.span().start.checked_sub(1 + quote).map(|at| self.line[at])
        });
        let mut separators = separators.peekable();
        separators.peek().is_some()
            && separators.all(|byte| byte.is_some_and(|byte| self.delimiter.is_space(byte)))
    }

    /// Whether it has carriage returns outside quotes: then it is the whole file.
    fn is_several_lines(&self) -> bool {
        let malformed = self.fields.kept().iter().filter(|field| field.form == Form::Malformed);
        malformed.into_iter().any(|field| field.of(self.line).contains(&b'\r'))
    }

    fn has_spaces_in_quotes(&self) -> bool {
        let texts = self.fields.kept().iter().map(|field| field.of(self.line));
        texts.into_iter().any(|text| text.trim_ascii() != text)
    }

    /// How many names are those of columns.
    fn known_names(&self, table: &Table) -> usize {
        self.names.iter().filter(|name| table.columns.iter().any(|column| column.is_named(name))).count()
    }

    fn layout(&self, table: &Table) -> Result<Layout, String> {
        if self.fields.malformed || self.fields.open {
            return Err(format!("this is not a header: {}", excerpt(self.line)));
        }
        if self.fields.count() > MAX_FIELDS {
            let count = self.fields.count();
            return Err(format!("{count} columns, where at most {MAX_FIELDS} columns are read"));
        }
        let fields =
            table.columns.iter().map(|column| self.index_of(column)).collect::<Result<Vec<_>, _>>()?;
        let ids = table.columns.iter().zip(&fields);
        let ids = ids.filter(|(column, _)| matches!(column.kind, ColumnKind::Id | ColumnKind::Parent(_)));
        let ids = ids.map(|(_, &field)| field).collect();
        let others = (0..self.names.len()).filter(|index| !fields.contains(index));
        let (derived, unknown): (Vec<_>, _) =
            others.map(|index| self.names[index].clone()).partition(|name| table.derives(name));
        Ok(Layout {
            copied: !derived.is_empty(),
            unknown,
            shape: RecordShape { delimiter: self.delimiter, fields: self.names.len(), ids },
            fields,
            repaired: self.fields.spaced || self.fields.padded || self.has_spaces_in_quotes(),
            spaced: self.is_spaced(),
        })
    }

    /// The index of the column's field.
    fn index_of(&self, column: &Column) -> Result<usize, String> {
        let mut found = (0..self.names.len()).filter(|&index| column.is_named(&self.names[index]));
        match (found.next(), found.next()) {
            (Some(index), None) => Ok(index),
            (Some(_), Some(_)) => Err(format!("the column \"{}\" appears twice", column.headers[0])),
            (None, _) => {
                let names = self.names.iter().map(|name| format!("\"{}\"", excerpt(name.as_bytes())));
                let names = names.collect::<Vec<_>>().join(", ");
                Err(format!("no column \"{}\" (found: {names})", column.headers[0]))
            }
        }
    }
}

/// The delimiter that a line such as `sep=;` names, which spreadsheets write before the header. `None` if it is not one.
pub(crate) fn named_delimiter(line: &[u8], file: &str) -> Result<Option<Delimiter>> {
    let line = without_carriage_returns(line);
    let line = line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\"")).unwrap_or(line);
    let Some((name, [delimiter])) = line.split_at_checked(4) else { return Ok(None) };
    if !name.eq_ignore_ascii_case(b"sep=") {
        return Ok(None);
    }
    let known = Delimiter::ALL.into_iter().find(|known| known.byte() == *delimiter);
    known.map(Some).ok_or_else(|| {
        Error::input(format!("{file}, line 1: the fields are separated by \"{}\"", excerpt(&[*delimiter])))
            .hint("separate them by commas; semicolons, tabs and | are read too")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use atelier_base::tables::TableId;

    #[test]
    fn columns_are_found_by_any_name_in_any_order_with_spaces() {
        let related = TableId::Related.table();
        let read = |line: &str| layout(line.as_bytes(), None, related, "related.csv, line 1");
        let usual = read("id,current_product_id,related_product_id").unwrap();
        assert_eq!(
            (&usual.fields[..], &usual.shape.ids[..], usual.repaired),
            (&[0, 1, 2][..], &[0, 1, 2][..], false)
        );

        let other = read("related_product_id, \"productId\" ,note,ID\r").unwrap();
        assert_eq!(other.fields, [3, 1, 0]);
        assert_eq!(other.shape.fields, 4);
        assert_eq!(other.unknown, ["note"]);
        // Not between all names.
        assert_eq!((other.repaired, other.spaced), (true, false));
        for (line, expected) in [
            ("id, current_product_id, related_product_id", (true, true)),
            ("id,\t\"current_product_id\", related_product_id", (true, true)),
            ("id,current_product_id,related_product_id ", (true, false)),
            ("id,current_product_id,\" related_product_id\"", (true, false)),
            ("id,current_product_id,related_product_id\r\r", (true, false)),
            ("id,current_product_id,related_product_id\r", (false, false)),
        ] {
            let found = read(line).unwrap();
            assert_eq!((found.repaired, found.spaced), expected, "{line}");
        }
    }

    #[test]
    fn the_delimiter_is_found() {
        let product = TableId::Product.table();
        let header = "id,position,name,slogan,description,category,default_price";
        let read = |line: &str, delimiter| layout(line.as_bytes(), delimiter, product, "product.csv, line 1");
        for delimiter in Delimiter::ALL {
            let line = header.replace(',', &char::from(delimiter.byte()).to_string());
            let found = read(&line, None).unwrap();
            assert_eq!((found.shape.delimiter, found.shape.fields), (delimiter, 7));
            // The position is derived.
            assert!(found.unknown.is_empty() && !found.repaired);
            assert_eq!(read(&line, Some(delimiter)).unwrap(), found);
        }
        // The message is about the most likely delimiter.
        let message = read("id;name;slogan;description;kind;default_price", None).unwrap_err().to_string();
        assert!(message.contains("no column \"category\" (found: \"id\", \"name\""), "{message}");
        let message = format!("{:#}", read(header, Some(Delimiter::Bar)).unwrap_err());
        assert!(message.contains("no column \"id\""), "{message}");
    }

    #[test]
    fn a_line_may_name_the_delimiter() {
        let name =
            |line: &str| named_delimiter(line.as_bytes(), "skus.csv").map_err(|error| format!("{error:#}"));
        assert_eq!(name("sep=;\r"), Ok(Some(Delimiter::Semicolon)));
        assert_eq!(name("\"SEP=\t\""), Ok(Some(Delimiter::Tab)));
        for line in ["sep=", "sep=;;", "separator", "id,name", ""] {
            assert_eq!(name(line), Ok(None), "{line}");
        }
        assert!(name("sep=^").unwrap_err().contains("separated by \"^\""));
    }

    #[test]
    fn messages_name_missing_and_duplicate_columns() {
        let styles = TableId::Styles.table();
        for (line, expected) in [
            ("id,productId,name,sale_price,default_style", "no column \"original_price\""),
            (
                "id,productId,product_id,name,sale_price,original_price,default_style",
                "\"productId\" appears twice",
            ),
            ("\"id,productId", "not a header: \"id,productId"),
        ] {
            let message =
                format!("{:#}", layout(line.as_bytes(), None, styles, "styles.csv, line 1").unwrap_err());
            assert!(message.contains(expected) && message.contains("styles.csv, line 1"), "{message}");
        }
    }

    #[test]
    fn messages_about_other_files_are_short() {
        let related = TableId::Related.table();
        let header = "id,current_product_id,related_product_id";
        let not_of_cr = "write the file with LF or CRLF";
        for (line, expected, to_do) in [
            (format!("{header}\r1,2,3\r").into(), "the lines end in CR alone", not_of_cr),
            (format!("\"id\"\r{}", "1,2,3\r".repeat(9)).into(), "the lines end in CR alone", not_of_cr),
            // All columns are there, and an unknown one after them.
            (format!("{header},note\r1,2,3,a\r").into(), "the lines end in CR alone", not_of_cr),
            (
                format!("{header}{}", ",note".repeat(14)).into(),
                "17 columns, where at most 16 columns are read",
                header,
            ),
            ([b"id,", &[b'x'; 60_000][..]].concat(), "\"xxxx", header),
            ([b"id,\"", &[b'x'; 60_000][..]].concat(), "not a header: id,\"xxxx", header),
        ] {
            let message = format!("{:#}", layout(&line, None, related, "related.csv, line 1").unwrap_err());
            assert!(message.contains(expected) && message.contains(to_do), "{message}");
            assert!(message.contains("related.csv, line 1") && message.len() < 300, "{message}");
        }
        // As many columns as may be.
        let read = |line: String| layout(line.as_bytes(), None, related, "related.csv, line 1").unwrap();
        assert_eq!(read(format!("{header}{}", ",note".repeat(13))).shape.fields, 16);
        // A carriage return in quotes is not a line end.
        assert_eq!(read(format!("{header},\"a\rb\"")).unknown, ["a\rb"]);
    }
}
