//! The uniqueness of ids. It needs all rows before a row, so it is checked on converted chunks in the order of the file.

use roaring::RoaringBitmap;

use crate::csv::parse::Lines;
use crate::rows::converted::{AcceptedRow, Converted};
use crate::rows::defect::{Fault, Reject};

/// Rejects the rows of the next chunk whose id is in `seen` already, and adds the other ids to it: the first row with an
/// id is accepted.
pub fn reject_duplicates(converted: &mut Converted, seen: &mut RoaringBitmap) {
    let rows = &converted.rows;
    let mut duplicates = Vec::new();
    let mut index = 0;
    while let Some(row) = rows.get(index) {
        // Ids mostly count up, and a run of them is looked up and added in one step.
        let run = rows[index..].iter().zip(row.id..).take_while(|(row, id)| row.id == *id).count();
        let ids = row.id..row.id + run as u32;
        if run > 1 && seen.range_cardinality(ids.clone()) == 0 {
            seen.insert_range(ids);
        } else {
            duplicates.extend(ids.enumerate().filter(|&(_, id)| !seen.insert(id)).map(|(at, _)| index + at));
        }
        index += run;
    }
    if !duplicates.is_empty() {
        reject(converted, &duplicates);
    }
}

/// Rejects the accepted rows at `indices`, which rise.
#[cold]
fn reject(converted: &mut Converted, indices: &[usize]) {
    let mut lines = Lines::new(&converted.chunk);
    let mut encoded = Vec::with_capacity(converted.encoded.len());
    let mut rows = Vec::with_capacity(converted.rows.len());
    let mut indices = indices.iter().copied().peekable();
    let mut start = 0;
    for (index, row) in converted.rows.iter().enumerate() {
        let bytes = &converted.encoded[start..row.end as usize];
        start = row.end as usize;
        if indices.next_if_eq(&index).is_none() {
            encoded.extend_from_slice(bytes);
            rows.push(AcceptedRow { end: encoded.len() as u32, ..*row });
            continue;
        }
        converted.digest.remove(bytes);
        let line = lines.line_of(row.at as usize);
        converted.rejects.push(Reject {
            line,
            offset: converted.chunk.offset + u64::from(row.at),
            column: "id",
            fault: Fault::DuplicateId,
            message: format!("an earlier row has the id {}", row.id),
            raw: converted.raw(row),
        });
    }
    (converted.encoded, converted.rows) = (encoded, rows);
    converted.rejects.sort_by_key(|reject| reject.offset);
    converted.recount_repairs();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use atelier_base::tables::TableId;

    use super::*;
    use crate::csv::chunk::Chunk;
    use crate::csv::layout::layout;
    use crate::rows::convert::{Converter, Output};
    use crate::rows::defect::Repair;
    use crate::rows::validate::Validator;

    fn convert(text: &str) -> Converted {
        let table = TableId::Skus.table();
        let layout = layout(b"id,styleId,size,quantity", None, table, "skus.csv").unwrap();
        let ids = Arc::new(RoaringBitmap::from_iter(1..=3));
        let converter = Converter::new(Validator::new(table, layout, |_| Arc::clone(&ids)), Output::Rows);
        converter.convert(Chunk { bytes: text.into(), line: 2, offset: 25, ..Chunk::default() })
    }

    #[test]
    fn the_first_row_with_an_id_is_accepted_and_the_second_leaves_no_trace() {
        let mut with = convert("1,1,\"S\",1\n1,2, \"M\",2\nx,1,\"S\",1\n7,1,\"L\",3\n2,2,\"M\",2");
        reject_duplicates(&mut with, &mut RoaringBitmap::from_iter([7]));
        let mut without = convert("1,1,\"S\",1\n2,2,\"M\",2");
        reject_duplicates(&mut without, &mut RoaringBitmap::new());

        assert_eq!(with.encoded, without.encoded);
        assert_eq!(with.digest, without.digest);
        assert_eq!((with.read, with.accepted(), with.repaired_rows), (5, 2, 0));
        let rejects: Vec<_> = with.rejects.iter().map(|r| (r.line, r.offset, r.fault, &r.raw[..])).collect();
        assert_eq!(
            rejects,
            [
                (3, 35, Fault::DuplicateId, &b"1,2, \"M\",2"[..]),
                (4, 46, Fault::BadInteger, b"x,1,\"S\",1"),
                (5, 56, Fault::DuplicateId, b"7,1,\"L\",3"),
            ]
        );
    }

    /// Also where the first repaired rows are duplicates.
    #[test]
    fn the_first_repaired_rows_are_among_those_accepted() {
        let rows = (1..=6).map(|id| format!("{id},1, \"S\",1\n")).collect::<String>();
        let mut converted = convert(&format!("{rows}7,1, \"S,1\n8,1, \"S\", \"1\n"));
        reject_duplicates(&mut converted, &mut RoaringBitmap::from_iter([1, 2, 4]));
        let repairs: Vec<_> = converted.first_repairs.iter().map(|row| (row.repair, row.line)).collect();
        let spacing = |line| (Repair::Spacing, line);
        assert_eq!(repairs, [spacing(4), spacing(6), spacing(7), (Repair::UnterminatedQuote, 9)]);
        assert_eq!(converted.first_repairs[0].excerpt, "3,1, \"S\",1");
        // One row has two repairs, and one is rejected for its number of fields.
        assert_eq!((converted.repaired.values().sum(), converted.repaired_rows), (5, 4));
    }
}
