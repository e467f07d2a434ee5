//! How a defect looks: edits the bytes of a clean row. Which column it is in follows from what the columns of the table
//! hold, as `tables` declares it, so that a new table needs nothing here. Slow, and rare: the clean row is written first
//! and split again.

use std::ops::Range;

use atelier_base::tables::{ColumnKind, Table, TableId};

use crate::defect::Defect;
use crate::random::Random;

/// Over the 1 MiB that a record may have.
const TOO_LONG_BYTES: usize = 1_100_000;
/// Ids from here on are in no file: the largest catalogue uses less than 600 million.
const MISSING_IDS: u32 = 2_000_000_000;

/// Puts the defect into the row that begins at `start` (with its line end) and ends with the buffer. Returns false, and
/// does nothing, if the row cannot have it.
pub(crate) fn damage(
    out: &mut Vec<u8>,
    start: usize,
    table: &Table,
    defect: Defect,
    random: &mut Random,
) -> bool {
    let row = out.split_off(start + 1);
    let mut row = Row { fields: split(&row), table };
    let is_done = row.damage(defect, random);
    out.extend_from_slice(&row.fields.join(&b','));
    if defect == Defect::DuplicateId {
        row.differ();
        out.push(b'\n');
        out.extend_from_slice(&row.fields.join(&b','));
    }
    is_done
}

/// Breaks the description in the row of product that begins at `start`: its first space becomes a line end.
pub(crate) fn fold(out: &mut [u8], start: usize) {
    const DESCRIPTION: usize = 3;
    let row = &mut out[start + 1..];
    if let Some(range) = ranges(row).get(DESCRIPTION).cloned()
        && let Some(space) = row[range.clone()].iter().position(|&byte| byte == b' ')
    {
        row[range.start + space] = b'\n';
    }
}

struct Row<'a> {
    fields: Vec<Vec<u8>>,
    table: &'a Table,
}

impl Row<'_> {
    fn damage(&mut self, defect: Defect, random: &mut Random) -> bool {
        match defect {
            Defect::UnterminatedQuote => {
                let last = self.fields.len() - 1;
                return self.fields[last].pop_if(|byte| *byte == b'"').is_some();
            }
            Defect::PriceFormat => self.price_format(random),
            Defect::Spacing => self.spacing(random),
            Defect::FieldCount => match random.one_in(2) {
                true => drop(self.fields.remove(1 + random.below(self.fields.len() as u32 - 1) as usize)),
                false => self.fields.push(b"0".to_vec()),
            },
            Defect::BadQuote => self.bad_quote(random),
            Defect::BadInteger => {
                let column = self.choose(random, is_integer);
                let variant = random.below(3);
                match self.table.columns[column].kind {
                    ColumnKind::Id if variant == 0 => self.set(column, "0"),
                    ColumnKind::Id | ColumnKind::Integer if variant == 1 => self.set(column, "99999999999"),
                    _ => self.fields[column].push(b'x'),
                }
            }
            Defect::BadPrice => {
                let column = self.choose(random, |kind| matches!(kind, ColumnKind::Price { .. }));
                self.set(column, random.pick(&["abc", "-5", "12.345", "99999999999"]));
            }
            Defect::BadBoolean => {
                let column = self.choose(random, |kind| kind == ColumnKind::Boolean);
                self.set(column, random.pick(&["2", "yes"]));
            }
            Defect::MissingValue => {
                let column = self.choose(random, |kind| kind != ColumnKind::Id && needs_value(kind));
                let is_text = matches!(self.table.columns[column].kind, ColumnKind::Text { .. });
                self.set(column, random.pick(if is_text { &["null", "", "\"\""] } else { &["null", ""] }));
            }
            Defect::BadEncoding => {
                let column = self.choose(random, is_required_text);
                self.fields[column].insert(1, if random.one_in(2) { 0xFF } else { 0 });
            }
            // The row itself is not changed; its duplicate is written after it.
            Defect::DuplicateId => {}
            Defect::Orphan => {
                let column = self.choose(random, |kind| matches!(kind, ColumnKind::Parent(_)));
                let missing = MISSING_IDS + random.below(100_000);
                self.set(column, &if random.one_in(2) { "0".to_owned() } else { missing.to_string() });
            }
            Defect::RecordTooLong => self.too_long(),
        }
        true
    }

    /// `"$818"`, `"586.00"`, or for the price at the end of a product `"default_price": 49`.
    fn price_format(&mut self, random: &mut Random) {
        let column = self.choose(random, |kind| kind == ColumnKind::Price { null: false });
        let price = String::from_utf8_lossy(&self.fields[column]).into_owned();
        let is_product = self.table.id == TableId::Product;
        let text = match random.below(if is_product { 3 } else { 2 }) {
            0 => format!("\"${price}\""),
            1 => format!("\"{price}.00\""),
            _ => format!("\"{}\": {price}", self.table.columns[column].name),
        };
        self.set(column, &text);
    }

    /// A space before a number, or before or after a quoted text, or both.
    fn spacing(&mut self, random: &mut Random) {
        let column = self.choose(random, |kind| !nullable(kind));
        let field = &mut self.fields[column];
        let is_text = field.first() == Some(&b'"');
        let variant = if is_text { random.below(3) } else { 0 };
        if variant != 1 {
            field.insert(0, b' ');
        }
        if variant != 0 {
            field.push(b' ');
        }
    }

    /// Text after a closing quote, or a quote in a bare number. No form may be mistaken for an open quote at the line's
    /// end, or for an escaped quote.
    fn bad_quote(&mut self, random: &mut Random) {
        if random.one_in(3) || !self.table.columns.iter().any(|column| is_required_text(column.kind)) {
            let column = self.choose(random, is_integer);
            return self.fields[column].push(b'"');
        }
        let column = self.choose(random, is_required_text);
        let behind: &[u8] = if random.one_in(2) { b"or so\"" } else { b"or so" };
        self.fields[column].extend_from_slice(behind);
    }

    /// One line over 1 MiB, well quoted. `plan` uses it for the two tables that have such a column.
    fn too_long(&mut self) {
        let is_long = |name: &str| matches!(name, "description" | "url");
        let Some(column) = self.table.columns.iter().position(|column| is_long(column.name)) else { return };
        let mut text = Vec::with_capacity(TOO_LONG_BYTES + 2);
        text.push(b'"');
        text.extend(b"and-so-on-".iter().cycle().take(TOO_LONG_BYTES));
        text.push(b'"');
        self.fields[column] = text;
    }

    /// Makes a duplicate differ from the row it repeats: in the case of the first letter of its first text, or without
    /// texts in its last id.
    fn differ(&mut self) {
        let text = self.fields.iter_mut().find(|field| field.first() == Some(&b'"'));
        match text.map(|field| &mut field[1]) {
            Some(letter) if letter.is_ascii_alphabetic() => *letter ^= 0x20,
            // A size in digits: the same row twice.
            Some(_) => {}
            None => self.fields[2] = self.fields[1].clone(),
        }
    }

    fn set(&mut self, column: usize, text: &str) {
        self.fields[column] = text.as_bytes().to_vec();
    }

    /// One of the columns whose kind `fits`; the table has one, or `plan` would not plan it.
    fn choose(&self, random: &mut Random, fits: impl Fn(ColumnKind) -> bool) -> usize {
        let columns = self.table.columns.iter().enumerate().filter(|(_, column)| fits(column.kind));
        let columns: Vec<usize> = columns.map(|(index, _)| index).collect();
        columns[random.below(columns.len() as u32) as usize]
    }
}

fn is_integer(kind: ColumnKind) -> bool {
    matches!(kind, ColumnKind::Id | ColumnKind::Parent(_) | ColumnKind::Integer)
}

fn is_required_text(kind: ColumnKind) -> bool {
    kind == ColumnKind::Text { empty: false, null: false }
}

fn nullable(kind: ColumnKind) -> bool {
    matches!(kind, ColumnKind::Text { null: true, .. } | ColumnKind::Price { null: true })
}

fn needs_value(kind: ColumnKind) -> bool {
    !nullable(kind) && !matches!(kind, ColumnKind::Text { empty: true, .. })
}

fn split(row: &[u8]) -> Vec<Vec<u8>> {
    ranges(row).into_iter().map(|range| row[range].to_vec()).collect()
}

/// The fields of a clean row.
fn ranges(row: &[u8]) -> Vec<Range<usize>> {
    let (mut ranges, mut start, mut is_quoted) = (Vec::new(), 0, false);
    for (index, &byte) in row.iter().enumerate() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => {
                ranges.push(start..index);
                start = index + 1;
            }
            _ => {}
        }
    }
    ranges.push(start..row.len());
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// All the forms that a defect takes in a row, sorted.
    fn forms(table: TableId, row: &str, defect: Defect) -> Vec<String> {
        let mut random = Random::new(42, Stream::Damage, 0);
        let mut forms: Vec<String> = (0..200)
            .map(|_| {
                let mut out = format!("before\n{row}").into_bytes();
                damage(&mut out, 6, table.table(), defect, &mut random);
                String::from_utf8_lossy(&out[7..]).into_owned()
            })
            .collect();
        forms.sort();
        forms.dedup();
        forms
    }

    #[test]
    fn defects_look_as_they_do_in_real_copies() {
        let style = r#"7,3,"Fog, grey",null,40,1"#;
        let sku = r#"9,4,"S",12"#;
        let feature = r#"5,2,"Weave","Twill""#;
        let cases: &[(TableId, &str, Defect, &[&str])] = &[
            (TableId::Features, feature, Defect::UnterminatedQuote, &[r#"5,2,"Weave","Twill"#]),
            (TableId::Features, r#"5,2,"Vegan",null"#, Defect::UnterminatedQuote, &[r#"5,2,"Vegan",null"#]),
            (
                TableId::Styles,
                style,
                Defect::PriceFormat,
                &[r#"7,3,"Fog, grey",null,"$40",1"#, r#"7,3,"Fog, grey",null,"40.00",1"#],
            ),
            (
                TableId::Skus,
                sku,
                Defect::Spacing,
                &[
                    r#" 9,4,"S",12"#,
                    r#"9, 4,"S",12"#,
                    r#"9,4, "S" ,12"#,
                    r#"9,4, "S",12"#,
                    r#"9,4,"S" ,12"#,
                    r#"9,4,"S", 12"#,
                ],
            ),
            (
                TableId::Skus,
                sku,
                Defect::FieldCount,
                &[r#"9,"S",12"#, r#"9,4,"S""#, r#"9,4,"S",12,0"#, "9,4,12"],
            ),
            (
                TableId::Skus,
                sku,
                Defect::BadQuote,
                &[
                    r#"9",4,"S",12"#,
                    r#"9,4","S",12"#,
                    r#"9,4,"S",12""#,
                    r#"9,4,"S"or so",12"#,
                    r#"9,4,"S"or so,12"#,
                ],
            ),
            (
                TableId::Styles,
                style,
                Defect::BadBoolean,
                &[r#"7,3,"Fog, grey",null,40,2"#, r#"7,3,"Fog, grey",null,40,yes"#],
            ),
            (TableId::Related, "8,1,2", Defect::DuplicateId, &["8,1,2\n8,1,1"]),
            (TableId::Skus, sku, Defect::DuplicateId, &["9,4,\"S\",12\n9,4,\"s\",12"]),
            (TableId::Related, "8,1,2", Defect::MissingValue, &["8,,2", "8,1,", "8,1,null", "8,null,2"]),
        ];
        for &(table, row, defect, expected) in cases {
            let mut expected = expected.to_vec();
            expected.sort_unstable();
            assert_eq!(forms(table, row, defect), expected, "{defect:?}");
        }
        for form in forms(TableId::Skus, sku, Defect::BadInteger) {
            let wrong = ["0,", "99999999999", "x"];
            assert!(wrong.iter().any(|wrong| form.contains(wrong)), "{form}");
        }
        let long = forms(TableId::Product, r#"1,"A","B","C d","D",5"#, Defect::RecordTooLong);
        assert!(long[0].len() > 1 << 20);
    }

    #[test]
    fn a_folded_description_is_still_one_field() {
        let mut out = b"\n1,\"A b\",\"B c\",\"C d\",\"D\",5".to_vec();
        fold(&mut out, 0);
        assert_eq!(out, b"\n1,\"A b\",\"B c\",\"C\nd\",\"D\",5");
    }
}
