//! Every code in every table where it can be: in the reject file, the report and on the terminal.

use atelier_base::tables::{ColumnKind, TABLES, Table};
use atelier_etl::csv::record::MAX_RECORD_BYTES;
use atelier_etl::rows::defect::{Code, Fault, Repair};

use crate::catalogue::{check, written};

/// The fields of a valid row. All parents have the id 1.
fn valid(table: &Table, id: usize) -> Vec<Vec<u8>> {
    let value = |kind| match kind {
        ColumnKind::Id => id.to_string(),
        ColumnKind::Parent(_) | ColumnKind::Boolean => "1".to_owned(),
        ColumnKind::Integer => "-7".to_owned(),
        ColumnKind::Text { .. } => "\"text\"".to_owned(),
        ColumnKind::Price { .. } => "5".to_owned(),
    };
    table.columns.iter().map(|column| value(column.kind).into_bytes()).collect()
}

/// The index of the first column of this kind.
fn index_of(table: &Table, kind: impl Fn(ColumnKind) -> bool) -> Option<usize> {
    table.columns.iter().position(|column| kind(column.kind))
}

fn damaged_by_repair(table: &Table, repair: Repair, mut row: Vec<Vec<u8>>) -> Option<Vec<u8>> {
    match repair {
        Repair::UnterminatedQuote => {
            let last = row.last_mut()?;
            *last = format!("\"{}", String::from_utf8_lossy(last).trim_matches('"')).into_bytes();
        }
        Repair::PriceFormat => {
            row[index_of(table, |kind| matches!(kind, ColumnKind::Price { .. }))?] = b"\"$5.00\"".to_vec()
        }
        Repair::Spacing => row[1].insert(0, b' '),
    }
    Some(row.join(&b','))
}

/// The row and the column at fault.
fn damaged_by_fault(
    table: &Table,
    fault: Fault,
    mut row: Vec<Vec<u8>>,
) -> Option<(Vec<u8>, Option<&'static str>)> {
    let last = row.len() - 1;
    let (at, field) = match fault {
        Fault::FieldCount => {
            row.pop();
            return Some((row.join(&b','), None));
        }
        Fault::RecordTooLong => {
            row[last] = vec![b'x'; MAX_RECORD_BYTES];
            return Some((row.join(&b','), None));
        }
        Fault::BadQuote => (last, &b"te\"xt"[..]),
        Fault::BadInteger => (0, &b"2147483648"[..]),
        Fault::MissingValue => (0, &b"null"[..]),
        Fault::DuplicateId => (0, &b"1"[..]),
        Fault::BadPrice => (index_of(table, |kind| matches!(kind, ColumnKind::Price { .. }))?, &b"5.001"[..]),
        Fault::BadBoolean => (index_of(table, |kind| kind == ColumnKind::Boolean)?, &b"2"[..]),
        Fault::BadEncoding => {
            (index_of(table, |kind| matches!(kind, ColumnKind::Text { .. }))?, &b"\"\xff\""[..])
        }
        Fault::Orphan => (index_of(table, |kind| matches!(kind, ColumnKind::Parent(_)))?, &b"99"[..]),
    };
    row[at] = field.to_vec();
    Some((row.join(&b','), Some(table.columns[at].name)))
}

#[test]
fn every_code_is_reported_in_every_table() {
    let mut catalogue = Vec::new();
    let mut expected = Vec::new();
    for table in &TABLES {
        let mut lines = vec![table.header().into_bytes(), valid(table, 1).join(&b',')];
        let (mut repaired, mut rejected) = (Vec::new(), Vec::new());
        for repair in Repair::all() {
            // A price with an open quote is two repairs in one row.
            if repair == Repair::PriceFormat
                && matches!(table.columns.last().unwrap().kind, ColumnKind::Price { .. })
            {
                repaired.push((lines.len() as u64, repair.code()));
            } else if let Some(row) = damaged_by_repair(table, repair, valid(table, 100 + lines.len())) {
                lines.push(row);
                repaired.push((lines.len() as u64, repair.code()));
            }
        }
        for fault in Fault::all() {
            if let Some((row, column)) = damaged_by_fault(table, fault, valid(table, 100 + lines.len())) {
                lines.push(row.clone());
                rejected.push((lines.len() as u64, column, fault.code(), row));
                // The row after it is valid, and has the id of the rejected one.
                lines.push(valid(table, 100 + lines.len() - 1).join(&b','));
            }
        }
        catalogue.push((format!("{}.csv", table.name), lines.join(&b'\n')));
        expected.push((table, lines, repaired, rejected));
    }
    // All but those of kinds of columns that the table does not have: prices, booleans, parents, text.
    let numbers: Vec<_> =
        expected.iter().map(|(.., repairs, rejects)| (repairs.len(), rejects.len())).collect();
    assert_eq!(numbers, [(3, 8), (2, 8), (3, 10), (2, 8), (2, 8), (2, 7)]);

    let done = check(written(catalogue).path(), &["--max-rejects", "60%"]).succeeded();
    for (table, lines, repaired, rejected) in &expected {
        let report = &done.report["tables"][table.name];
        assert_eq!(report["read"], lines.len() - 1, "{}", table.name);
        assert_eq!(report["loaded"], lines.len() - 1 - rejected.len(), "{}", table.name);

        let file = done.rejects(table.name).unwrap();
        let records = csv::Reader::from_reader(&file[..]).into_byte_records().map(Result::unwrap);
        for (record, (line, column, code, row)) in records.zip(rejected) {
            let offset: usize = lines[..*line as usize - 1].iter().map(|line| line.len() + 1).sum();
            let told = [
                line.to_string(),
                offset.to_string(),
                column.unwrap_or_default().to_owned(),
                (*code).to_owned(),
            ];
            for (found, told) in record.iter().zip(&told) {
                assert_eq!(String::from_utf8_lossy(found), *told, "{}", table.name);
            }
            assert!(record[5] == row[..row.len().min(MAX_RECORD_BYTES)], "{}, line {line}", table.name);
        }
        assert_eq!(csv::Reader::from_reader(&file[..]).into_byte_records().count(), rejected.len());

        let repaired = repaired.iter().map(|(line, code)| (*line, None, *code, "repaired"));
        let rejected = rejected.iter().map(|(line, column, code, _)| (*line, *column, *code, "rejected"));
        let mut examples = report["examples"].as_array().unwrap().iter();
        for (line, column, code, outcome) in repaired.chain(rejected) {
            let what = format!("{}: {code}", table.name);
            assert_eq!(report[outcome][code], 1, "{what}");
            let example = examples.next().unwrap();
            let found = (example["line"].as_u64(), example["column"].as_str(), example["code"].as_str());
            assert_eq!(found, (Some(line), column, Some(code)), "{what}");
            let told = format!("{}: 1 {outcome}, {code}\n  line {line}: ", table.name);
            assert!(done.run.stdout.contains(&told), "{told} is not in: {}", done.run.stdout);
        }
        assert!(examples.next().is_none(), "{}", table.name);
    }
}
